//! What a board answers on its client line.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// An answer to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// To `status`.
    Status(Status),
    /// To `put`: committed and applied, at this index.
    Applied(u64),
    /// To `put` and `load`: nothing was stored, and why.
    Refused(String),
    /// To all that takes a quorum: the outcome is not known, and why.
    Lost(String),
    /// To `get`: the register's value.
    Value(u32),
    /// To `load`: so many commands were applied.
    Loaded(u32),
    /// To `refusals`: the node's counters.
    Refusals(String),
    /// To `halted`: why the node has stopped, if it has.
    Halted(Option<String>),
    /// To what is no request, and why.
    Bad(String),
}

impl Answer {
    /// What stands behind the tag of an answer.
    ///
    /// # Errors
    /// It is no answer.
    pub fn parse(text: &str) -> Result<Self> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        Ok(match word {
            "status" => Self::Status(Status::parse(rest)?),
            "ok" => Self::Applied(number(rest)?),
            "refused" => Self::Refused(rest.into()),
            "lost" => Self::Lost(rest.into()),
            "value" => Self::Value(number(rest)?),
            "loaded" => Self::Loaded(number(rest)?),
            "refusals" => Self::Refusals(rest.into()),
            "halted" => Self::Halted((rest != "no").then(|| rest.into())),
            "bad" => Self::Bad(rest.into()),
            _ => bail!("`{text}` is no answer"),
        })
    }
}

/// How a node stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// The node that answers.
    pub node: u8,
    /// `leader`, or what else it is.
    pub role: String,
    /// Its term.
    pub term: u64,
    /// The leader that it follows or is.
    pub leader: Option<u8>,
    /// The last entry of its log.
    pub last: u64,
    /// The last entry that it knows to be committed.
    pub committed: u64,
    /// The last entry that its application has applied.
    pub applied: u64,
    /// The last entry that its flash holds.
    pub durable: u64,
    /// The entry before the first of its log.
    pub start: u64,
    /// The last entry that its snapshot covers.
    pub snapshot: u64,
    /// A checksum over all commands applied so far.
    pub digest: u32,
}

impl Status {
    /// Whether the node leads.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.role == "leader"
    }

    fn parse(text: &str) -> Result<Self> {
        let fields = fields(text)?;
        let field = |name: &str| fields.get(name).map(String::as_str).with_context(|| format!("no `{name}`"));
        let leader = field("leader")?;
        Ok(Self {
            node: number(field("node")?)?,
            role: field("role")?.into(),
            term: number(field("term")?)?,
            leader: (leader != "-").then(|| number(leader)).transpose()?,
            last: number(field("last")?)?,
            committed: number(field("committed")?)?,
            applied: number(field("applied")?)?,
            durable: number(field("durable")?)?,
            start: number(field("start")?)?,
            snapshot: number(field("snapshot")?)?,
            digest: u32::from_str_radix(field("digest")?, 16).context("no digest")?,
        })
    }
}

fn fields(text: &str) -> Result<BTreeMap<String, String>> {
    let pair = |word: &str| word.split_once('=').map(|(name, value)| (name.into(), value.into()));
    text.split_whitespace().map(|word| pair(word).with_context(|| format!("`{word}` is not name=value"))).collect()
}

fn number<N: FromStr<Err: std::error::Error + Send + Sync + 'static>>(text: &str) -> Result<N> {
    text.parse().with_context(|| format!("`{text}` is no number"))
}

#[cfg(test)]
mod tests {
    use super::{Answer, Status};

    #[test]
    fn every_answer_is_understood() {
        let status = "status node=1 role=leader term=3 leader=1 last=42 committed=41 applied=40 durable=42 start=5 snapshot=7 digest=1a2b3c4d";
        let expected = Status {
            node: 1,
            role: "leader".into(),
            term: 3,
            leader: Some(1),
            last: 42,
            committed: 41,
            applied: 40,
            durable: 42,
            start: 5,
            snapshot: 7,
            digest: 0x1A2B_3C4D,
        };
        assert!(expected.leads());
        let unknown = Status { role: "candidate".into(), leader: None, ..expected.clone() };
        for (text, answer) in [
            (status, Answer::Status(expected)),
            (
                &*status.replace("role=leader", "role=candidate").replace("leader=1", "leader=-"),
                Answer::Status(unknown),
            ),
            ("ok 12", Answer::Applied(12)),
            ("refused node 2 leads", Answer::Refused("node 2 leads".into())),
            ("lost no answer", Answer::Lost("no answer".into())),
            ("value 4294967295", Answer::Value(u32::MAX)),
            ("loaded 100", Answer::Loaded(100)),
            ("refusals frames=3 room=0", Answer::Refusals("frames=3 room=0".into())),
            ("halted no", Answer::Halted(None)),
            ("halted the medium failed", Answer::Halted(Some("the medium failed".into()))),
            ("bad no such request", Answer::Bad("no such request".into())),
        ] {
            assert_eq!(Answer::parse(text).unwrap(), answer);
        }
        for nonsense in ["", "okay 12", "ok", "value -1", "status node=1"] {
            assert!(Answer::parse(nonsense).is_err(), "{nonsense}");
        }
    }
}
