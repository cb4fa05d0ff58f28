//! Sessions: a command of a session takes effect once, every answer to it is the first, and a session is forgotten only when the log says so (C11). A plain
//! model of the table, fed with the committed entries, tells which of them an application may be given.

use std::collections::{BTreeMap, HashMap};

use quoring::SessionId;
use quoring_core::{ClientId, RequestId};
use quoring_ring::Kind;

use super::Verdict;
use super::commit::Commit;
use super::matching::Entry;

/// The table after all that is committed, and what its sessions did.
#[derive(Default)]
pub(crate) struct Sessions {
    /// The last entry that is known here to be committed.
    committed: u64,
    open: BTreeMap<ClientId, Session>,
    /// The entries that are not for applications.
    passed: Vec<u64>,
    /// Where each command took effect.
    effects: HashMap<(SessionId, u32), u64>,
    /// In which life of its node each name was given.
    names: HashMap<ClientId, u64>,
    /// The life of the node that used this boot number for a name.
    boots: HashMap<(u64, u32), u64>,
}

#[derive(Clone, Copy)]
struct Session {
    opened: u32,
    used: u64,
    last: u32,
}

impl Sessions {
    /// More may be committed.
    pub(crate) fn follow(&mut self, commit: &Commit) {
        while let Some(entry) = commit.get(self.committed + 1) {
            self.commits(self.committed + 1, entry);
        }
    }

    /// Entry `index` is committed, as the next one.
    fn commits(&mut self, index: u64, entry: &Entry) {
        self.committed = index;
        let lent = match (entry.kind, &entry.request) {
            (Kind::Command | Kind::Stream, _) => true,
            (Kind::Session, Some(request)) => self.passes(index, request),
            _ => false,
        };
        if !lent {
            self.passed.push(index);
        }
    }

    /// Whether the application may be given this committed entry.
    pub(crate) fn is_lent(&self, index: u64) -> bool {
        self.passed.binary_search(&index).is_err()
    }

    /// True if the request is to be applied.
    fn passes(&mut self, index: u64, request: &RequestId) -> bool {
        let RequestId { client, sequence, table } = *request;
        if sequence == 0 {
            if table > 0 {
                let new = Session { opened: index as u32, used: 0, last: 0 };
                self.open.entry(client).or_insert(new).used = index;
            }
            while self.open.len() > table as usize && table > 0 {
                let oldest = self.open.iter().min_by_key(|(_, session)| session.used).map(|(&client, _)| client);
                oldest.map(|client| self.open.remove(&client));
            }
            return false;
        }
        match self.open.get_mut(&client) {
            Some(session) if session.opened == table && sequence > session.last => {
                (session.used, session.last) = (index, sequence);
                true
            }
            _ => false,
        }
    }

    /// The first application is given the request in entry `index`.
    pub(crate) fn applies(&mut self, index: u64, request: &RequestId) -> Verdict {
        let RequestId { client, sequence, table } = *request;
        let session = SessionId { client, opened: table };
        match self.effects.insert((session, sequence), index) {
            None => Ok(()),
            Some(first) => {
                Err(format!("command {sequence} of session {session} took effect at {first} and again at {index}"))
            }
        }
    }

    /// A client is told the answer to a command: where it took effect, which is where the answer must be from.
    pub(crate) fn answers(&self, session: SessionId, sequence: u32, claimed: Option<u64>) -> Result<u64, String> {
        let index = *self
            .effects
            .get(&(session, sequence))
            .ok_or_else(|| format!("answered command {sequence} of session {session}, which never took effect"))?;
        match claimed {
            Some(other) if other != index => Err(format!(
                "gave command {sequence} of session {session} the answer to entry {other}; it took effect at {index}"
            )),
            _ => Ok(index),
        }
    }

    /// A client is told that its session has expired.
    pub(crate) fn expires(&self, session: SessionId) -> Verdict {
        match self.get(session) {
            None => Ok(()),
            Some(_) => Err(format!("told a client that session {session} has expired, which is open")),
        }
    }

    /// A client is told that a later command took the place of this one, which is the newest of its session. The session may have expired since.
    pub(crate) fn supersedes(&self, session: SessionId, sequence: u32) -> Verdict {
        let is_later = |(other, number): &(SessionId, u32)| *other == session && *number > sequence;
        if self.get(session).is_some_and(|open| open.last > sequence) || self.effects.keys().any(is_later) {
            return Ok(());
        }
        Err(format!("told a client that command {sequence} of session {session} is superseded, which it is not"))
    }

    fn get(&self, session: SessionId) -> Option<&Session> {
        self.open.get(&session.client).filter(|open| open.opened == session.opened)
    }

    /// A node's client has this name, which it was given in that life of the node (R15).
    pub(crate) fn names(&mut self, SessionId { client, .. }: SessionId, node: u64, life: u64) -> Verdict {
        if client.node().map(|of| u64::from(of.get())) != Some(node) {
            return Err(format!("opened session {client}, which is another node's name"));
        }
        if self.names.insert(client, life).is_some() {
            return Err(format!("opened session {client} a second time"));
        }
        match *self.boots.entry((node, client.boot())).or_insert(life) {
            first if first == life => Ok(()),
            first => Err(format!("uses boot number {} in its life {life}, as it did in life {first}", client.boot())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(client: u64, sequence: u32, table: u32) -> RequestId {
        RequestId { client: ClientId(client), sequence, table }
    }

    fn commit(sessions: &mut Sessions, index: u64, request: RequestId) -> bool {
        let payload = [&request.encode()[..], b"x"].concat();
        sessions.commits(index, &Entry::new(1, Kind::Session, &payload));
        sessions.is_lent(index)
    }

    fn named(client: u64, opened: u32) -> SessionId {
        SessionId { client: ClientId(client), opened }
    }

    #[test]
    fn a_command_is_lent_once_and_only_while_its_session_is_open() {
        let mut sessions = Sessions::default();
        assert!(!commit(&mut sessions, 1, request(7, 1, 0)), "never opened");
        assert!(!commit(&mut sessions, 2, request(7, 0, 2)));
        assert!(commit(&mut sessions, 3, request(7, 1, 2)));
        assert!(!commit(&mut sessions, 4, request(7, 1, 2)), "again");
        assert!(commit(&mut sessions, 5, request(7, 3, 2)));
        assert!(!commit(&mut sessions, 6, request(7, 2, 2)), "late");
        assert!(!commit(&mut sessions, 7, request(7, 4, 1)), "of another session");
        assert!(sessions.expires(named(7, 2)).is_err());
        assert_eq!([sessions.supersedes(named(7, 2), 2), sessions.expires(named(7, 1))], [Ok(()), Ok(())]);
        assert!(sessions.supersedes(named(7, 2), 3).is_err());
    }

    #[test]
    fn the_session_used_longest_ago_makes_place() {
        let mut sessions = Sessions::default();
        for (index, wanted) in (1..).zip([request(1, 0, 2), request(2, 0, 2), request(1, 1, 1), request(3, 0, 2)]) {
            commit(&mut sessions, index, wanted);
        }
        assert_eq!(sessions.open.keys().map(|client| client.0).collect::<Vec<_>>(), [1, 3]);
        assert!(!commit(&mut sessions, 5, request(2, 1, 2)) && commit(&mut sessions, 6, request(1, 2, 1)));
        commit(&mut sessions, 7, request(4, 0, 1));
        assert_eq!(sessions.open.keys().map(|client| client.0).collect::<Vec<_>>(), [4]);
    }

    /// Seed 518 of three nodes with small rings: what the client was told had become true, and then its session expired.
    #[test]
    fn a_command_stays_superseded_when_its_session_has_expired() {
        let mut sessions = Sessions::default();
        commit(&mut sessions, 1, request(7, 0, 1));
        for (index, sequence) in [(2, 1), (3, 3)] {
            commit(&mut sessions, index, request(7, sequence, 1));
            assert_eq!(sessions.applies(index, &request(7, sequence, 1)), Ok(()));
        }
        commit(&mut sessions, 4, request(8, 0, 1));
        assert_eq!(sessions.expires(named(7, 1)), Ok(()));
        assert_eq!(sessions.supersedes(named(7, 1), 2), Ok(()));
        assert!(sessions.supersedes(named(7, 1), 3).is_err());
    }

    #[test]
    fn a_second_effect_a_wrong_answer_and_a_name_given_twice_are_refused() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.applies(5, &request(1, 1, 3)), Ok(()));
        assert_eq!([5, 6].map(|claimed| sessions.answers(named(1, 3), 1, Some(claimed)).is_ok()), [true, false]);
        assert_eq!(
            (sessions.answers(named(1, 3), 1, None), sessions.answers(named(1, 3), 2, None).is_err()),
            (Ok(5), true)
        );
        assert!(sessions.applies(6, &request(1, 1, 3)).is_err());
        let name = |boot: u64, number| named(3 << 56 | boot << 24 | number, 9);
        assert_eq!([sessions.names(name(1, 1), 3, 4), sessions.names(name(1, 2), 3, 4)], [Ok(()), Ok(())]);
        assert!(sessions.names(name(1, 2), 3, 4).is_err(), "the name");
        assert!(sessions.names(name(1, 3), 3, 5).is_err(), "the boot number");
        assert!(sessions.names(name(2, 1), 2, 1).is_err(), "another node's");
    }
}
