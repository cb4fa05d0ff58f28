//! Making one page of several, so that what is dead never fills the log (P12).

use super::PagedLog;
use super::Tail;
use super::error::Error;
use super::format::{BatchHeader, MOST, Origin, PageHeader};
use super::io::{Sums, Words, padding};
use super::pages::{Page, State};
use crate::store::medium::Medium;

/// Pages that stand one behind the other, by number: the first, and the last.
pub(super) type Run = (usize, usize);

impl<M: Medium, const PAGES: usize, const WORD: usize, const RECORD: usize> PagedLog<M, PAGES, WORD, RECORD> {
    /// The cheapest merge that gains something: two neighbours that fit into one page, or else the newest page alone, if that makes room for `need`
    /// bytes more.
    pub(super) fn mergeable(&self, need: u32) -> Option<Run> {
        let format = &self.io.format;
        let head = self.pages.head()?;
        let neighbours = self.pages.in_order().filter_map(|first| Some((first, self.pages.next(first)?)));
        let size = |&(first, second): &Run| self.pages.get(first).live + self.pages.get(second).live;
        let fits = |run: &Run| {
            let more = if run.1 == head { need } else { 0 };
            size(run) <= MOST && format.extent(size(run)) + more <= format.usable()
        };
        let pair = neighbours.filter(fits).min_by_key(size);
        pair.or_else(|| {
            let merged = format.extent(self.pages.get(head).live);
            let gains = format.data() + merged < self.tail.at;
            (gains && merged + need <= format.usable()).then_some((head, head))
        })
    }

    /// Writes the live records of a run to a clean page, as one batch, and erases the run: first it counts, then the new page does, at once and for all.
    pub(super) async fn merge(&mut self, (first, last): Run) -> Result<(), Error<M::Error>> {
        self.wipe_stale().await?;
        if self.pages.free() == 0 {
            // The oldest goes, which may be one of the run.
            return self.clean_page().await.map(drop);
        }
        let number = self.clean_page().await?;
        let format = self.io.format;
        let mut body = 0;
        for page in self.run((first, last)) {
            self.pages.update(page, |page| page.trimmed = true);
            self.measure().await?;
            body += self.pages.get(page).live;
        }
        let before = self.pages.previous(first).map(|page| *self.pages.get(page));
        let places = (self.pages.get(first).first, self.pages.get(last).last);
        let restated = self.header(first).await?.before;
        let header = PageHeader { before: restated, ..self.page_header(Origin::Merged, places, before)? };
        let place = format.place(format.seed(header.sequence, header.salt), format.data());
        let sums = self.sum_run((first, last), Sums::new(&format, place, body)).await?;

        let newest = Some(last) == self.pages.head();
        self.io.write_header(number, &header).await.map_err(Error::Medium)?;
        self.io.medium.sync().await.map_err(Error::Medium)?;
        self.sequence = header.sequence;
        let head = BatchHeader { number: 0, length: (body / 16) as u16, prefix: sums.prefix() };
        let mut words = Words::at(format.base(number) + format.data());
        self.io.begin_batch(&mut words, &head, place).await.map_err(Error::Medium)?;
        self.copy_run((first, last), &mut words).await?;
        self.io.end_batch(&mut words, body, sums.sum()).await.map_err(Error::Medium)?;
        self.io.medium.sync().await.map_err(Error::Medium)?;

        let mut merged = Page { batches: 1, live: body, ..Page::begun(&header) };
        for page in self.run((first, last)) {
            let old = *self.pages.get(page);
            if !old.is_empty() {
                merged.begin = if merged.is_empty() { old.begin } else { merged.begin };
                merged.end = old.end;
            }
            merged.starts |= old.starts;
            self.pages.set_state(page, State::Stale);
        }
        self.pages.set(number, merged);
        if newest {
            let seed = format.seed(header.sequence, header.salt);
            self.tail = Tail { at: words.end() - format.base(number), seed };
        }
        self.wipe_stale().await
    }

    /// The pages of a run.
    fn run(&self, (first, last): Run) -> impl Iterator<Item = usize> + use<M, PAGES, WORD, RECORD> {
        core::iter::once(first).chain((first != last).then_some(last))
    }

    async fn sum_run(&mut self, run: Run, mut sums: Sums) -> Result<Sums, Error<M::Error>> {
        let (format, mut body) = (self.io.format, 0);
        for page in self.run(run) {
            let mut live = self.live(page, self.walk(page)).await?;
            while let Some((found, _)) = self.next_live(page, &mut live).await? {
                let size = found.header.size() as u32;
                let bytes = self.io.get(found.at, size).await.map_err(Error::Medium)?;
                sums.add(&format, bytes);
                body += size;
            }
        }
        sums.pad(&format, padding(&format, body));
        Ok(sums)
    }

    async fn copy_run(&mut self, run: Run, words: &mut Words) -> Result<(), Error<M::Error>> {
        for page in self.run(run) {
            let mut live = self.live(page, self.known_walk(page)).await?;
            while let Some((found, _)) = self.next_live(page, &mut live).await? {
                let size = found.header.size() as u32;
                self.io.copy(words, found.at, size).await.map_err(Error::Medium)?;
            }
        }
        Ok(())
    }
}
