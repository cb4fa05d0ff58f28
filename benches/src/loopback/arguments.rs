//! The command line.

use std::path::PathBuf;

use quoring::NodeId;

pub(crate) const USAGE: &str = "usage: loopback [--dir FOLDER] [--seconds N] [--log-thread]

  --dir FOLDER   where the logs go, in a folder of their own that is removed again; it should lie on a disk. By default /var/tmp
  --seconds N    how long each load runs, 1 to 3600; by default 5
  --log-thread   gives the log writer of each node a thread of its own, as the example key_value does; by default a node is one thread";

/// How many threads a node has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layout {
    /// Nobody wakes anybody on another thread. The node is deaf while its disk syncs.
    OneThread,
    /// It hears and sends while its disk syncs.
    LogThread,
}

/// What this process is to do.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Arguments {
    Help,
    Measure {
        folder: PathBuf,
        seconds: u32,
        layout: Layout,
    },
    /// A node of the cluster that is measured: started by who measures.
    Node {
        id: NodeId,
        layout: Layout,
        folder: PathBuf,
    },
    /// A process that measures the machine: likewise.
    Limits {
        folder: PathBuf,
    },
}

impl Arguments {
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut words = words.peekable();
        match words.next_if(|word| word.starts_with("role:")).as_deref() {
            Some("role:node") => {
                let id = words.next().and_then(|id| NodeId::new(id.parse().ok()?)).ok_or("which node?")?;
                let layout = words.next().as_deref().and_then(Layout::named).ok_or("how many threads?")?;
                return Ok(Self::Node { id, layout, folder: words.next().ok_or("in which folder?")?.into() });
            }
            Some("role:limits") => return Ok(Self::Limits { folder: words.next().ok_or("in which folder?")?.into() }),
            Some(role) => return Err(format!("unknown {role}")),
            None => {}
        }
        let (mut folder, mut seconds, mut layout) = (None, None, Layout::OneThread);
        while let Some(option) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{option} needs a value"));
            match option.as_str() {
                "--help" | "-h" => return Ok(Self::Help),
                "--dir" if folder.is_none() => folder = Some(PathBuf::from(value()?)),
                "--seconds" if seconds.is_none() => seconds = Some(parse_seconds(&value()?)?),
                "--log-thread" => layout = Layout::LogThread,
                "--dir" | "--seconds" => return Err(format!("{option} is there twice")),
                _ => return Err(format!("unknown option {option}")),
            }
        }
        let folder = folder.unwrap_or_else(|| if cfg!(unix) { "/var/tmp".into() } else { std::env::temp_dir() });
        if !folder.is_dir() {
            return Err(format!("{} is no folder", folder.display()));
        }
        Ok(Self::Measure { folder, seconds: seconds.unwrap_or(5), layout })
    }
}

impl Layout {
    /// Its name between processes.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::OneThread => "one-thread",
            Self::LogThread => "log-thread",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::OneThread, Self::LogThread].into_iter().find(|layout| layout.name() == name)
    }
}

fn parse_seconds(word: &str) -> Result<u32, String> {
    let seconds = word.parse().ok().filter(|seconds| (1..=3600).contains(seconds));
    seconds.ok_or_else(|| format!("--seconds {word}: a number from 1 to 3600 is needed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn what_is_no_command_line_is_told_what_is_wrong_with_it() {
        for (line, error) in [
            ("--second 5", "unknown option --second"),
            ("--seconds", "--seconds needs a value"),
            ("--seconds 0", "--seconds 0: a number from 1 to 3600 is needed"),
            ("--seconds 5 --seconds 6", "--seconds is there twice"),
            ("--dir /nowhere/at/all", "/nowhere/at/all is no folder"),
            ("role:king", "unknown role:king"),
        ] {
            assert_eq!(parse(line), Err(error.into()), "{line}");
        }
        assert_eq!(
            parse("--dir . --seconds 7"),
            Ok(Arguments::Measure { folder: ".".into(), seconds: 7, layout: Layout::OneThread })
        );
    }
}
