//! Times that were measured.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Times in nanoseconds, sorted. One line of text on its way from process to process.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Samples {
    sorted: Vec<u32>,
}

impl Samples {
    /// The time that so many of a hundred do not exceed.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let place = (self.sorted.len() * percent).div_ceil(100).saturating_sub(1);
        Duration::from_nanos(self.sorted.get(place).copied().unwrap_or_default().into())
    }

    pub(crate) fn median(&self) -> Duration {
        self.percentile(50)
    }

    pub(crate) const fn count(&self) -> usize {
        self.sorted.len()
    }

    /// Takes others in.
    pub(crate) fn pool(&mut self, others: &Self) {
        self.sorted.extend(&others.sorted);
        self.sorted.sort_unstable();
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<T: IntoIterator<Item = Duration>>(times: T) -> Self {
        let nanoseconds = |time: Duration| u32::try_from(time.as_nanos()).unwrap_or(u32::MAX);
        let mut sorted: Vec<_> = times.into_iter().map(nanoseconds).collect();
        sorted.sort_unstable();
        Self { sorted }
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sorted.iter().try_for_each(|time| write!(f, "{time} "))
    }
}

impl FromStr for Samples {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let mut sorted = line.split_whitespace().map(str::parse).collect::<Result<Vec<_>, _>>()?;
        sorted.sort_unstable();
        Ok(Self { sorted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let samples: Samples = (1..=200).rev().map(Duration::from_nanos).collect();
        let percentiles = [1, 50, 99, 100].map(|percent| samples.percentile(percent).as_nanos());
        assert_eq!(percentiles, [2, 100, 198, 200]);
        assert_eq!(samples.to_string().parse::<Samples>().unwrap(), samples);
        assert_eq!(Samples::default().median(), Duration::ZERO);
    }
}
