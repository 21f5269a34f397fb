//! Log matching: what an index and a term say of an entry, they say of all logs.

use base::{LogIndex, Term};

use super::Look;

/// What is known of the entry of one index and one term.
#[derive(Clone, Copy, Debug)]
struct Fact {
    term: Term,
    /// The term of the entry before it: if it is the same in all logs, then by induction all before it is.
    before: Term,
    /// A fingerprint of its content, once it was seen in memory.
    content: Option<u64>,
}

/// Every entry that ever was in a log.
#[derive(Debug, Default)]
pub(super) struct Logs {
    /// By index, from 1 on: one fact for each term that an entry was seen with.
    facts: Vec<Vec<Fact>>,
}

impl Logs {
    /// Looks at what is new in a log.
    pub(super) fn check(
        &mut self,
        look: &Look<'_>,
        from: LogIndex,
        content: impl Fn(LogIndex) -> Option<u64>,
    ) {
        let last = usize::try_from(look.last.0).expect("logs of a run are short");
        if self.facts.len() < last {
            self.facts.resize(last, Vec::new());
        }
        for index in (from.0..=look.last.0).map(LogIndex) {
            let term = look.term_at(index).expect("the log has it");
            let before = index.previous().and_then(|before| look.term_at(before));
            let before = before.unwrap_or(Term(0));
            self.note(look, index, Fact { term, before, content: content(index) });
        }
    }

    fn note(&mut self, look: &Look<'_>, index: LogIndex, fact: Fact) {
        let (id, Fact { term, before, content }) = (look.id, fact);
        let known = &mut self.facts[index.0 as usize - 1];
        let Some(known) = known.iter_mut().find(|known| known.term == term) else {
            known.push(fact);
            return;
        };
        assert!(
            known.before == before,
            "log matching: node {id} has another entry before entry {index} of term {term}"
        );
        if let (Some(known), Some(here)) = (known.content, content) {
            assert!(
                known == here,
                "log matching: node {id} has another command in entry {index} of term {term}"
            );
        }
        known.content = known.content.or(content);
    }
}
