//! What the node shows of its part in the ledger: the same for the shell, for HTTP and for programs.

use alloc::string::String;
use core::fmt::Write;

use base::NodeId;
use bft::{Sequence, VoterSet};
use shell::{Listing, Record, Value};

use super::Notary;

impl Notary {
    /// `bft status`, and `/v1/ledger`.
    pub(crate) fn show_status(&self) -> Record {
        let (quorums, signed) = (self.quorums, self.signed.store.status());
        let entries = self.entries.store.status();
        let (waiting, under_way) = self.depth();
        let bft = self.bft().map(bft::BftNode::status);
        let ledger = self.ledger();
        let full = self.replica.as_ref().and_then(|replica| replica.full);
        let number = |of: fn(&bft::Status) -> u64| bft.as_ref().map(of);
        Record::default()
            .with("id", self.id.get())
            .with("state", self.state())
            .with("reason", self.reason.as_deref().or(full).map(Value::text))
            .with("replicas", quorums.replicas() as u64)
            .with("liars", quorums.liars() as u64)
            .with("quorum", quorums.quorum() as u64)
            .with("fast_quorum", quorums.fast_quorum() as u64)
            .with("view", number(|status| status.view.0))
            .with("primary", bft.as_ref().map(|status| status.primary.get()))
            .with("number", number(|status| status.executed.0))
            .with("decided_fast", number(|status| status.counters.decided_fast))
            .with("low_watermark", number(|status| status.low.0))
            .with("high_watermark", number(|status| status.high.0))
            .with("entries", ledger.map(ledger::Ledger::length))
            .with("group", Value::text(self.keyring.group()))
            .with("head", ledger.map(|ledger| Value::text(ledger.head())))
            .with("waiting", (waiting + under_way) as u64)
            .with("signed", number(|status| status.counters.signed))
            .with("verified", number(|status| status.counters.verified))
            .with("bad_signatures", number(|status| status.counters.bad_signatures))
            .with("proven_liars", self.bft().map(|bft| self.names(bft.liars().proven)))
            .with(
                "bad_signatures_from",
                self.bft().map(|bft| self.names(bft.liars().bad_signatures)),
            )
            .with("disk_bytes_used", entries.body_bytes_used)
            .with("disk_bytes", entries.body_bytes)
            .with("signed_bytes_used", signed.body_bytes_used)
            .with("signed_bytes", signed.body_bytes)
    }

    /// The numbers of these replicas, or none.
    fn names(&self, replicas: VoterSet) -> Value {
        let mut text = String::new();
        for id in replicas.iter().filter_map(|slot| self.keyring.member(slot)) {
            let separator = if text.is_empty() { "" } else { " " };
            // Writing to a string does not fail.
            let _ = write!(text, "{separator}{id}");
        }
        if text.is_empty() { Value::Null } else { Value::text(text) }
    }

    /// What this replica does, in a word or a few.
    fn state(&self) -> &'static str {
        let Some(status) = self.bft().map(bft::BftNode::status) else {
            return if self.reason.is_some() { "off" } else { "reading its disk" };
        };
        if self.replica.as_ref().is_some_and(|replica| replica.full.is_some()) {
            return "full: it only serves what it has";
        }
        match (status.is_abstaining, status.is_behind, status.is_active) {
            (true, _, _) => "abstaining: what it signed is damaged",
            (false, true, _) => "catching up",
            (false, false, false) => "changing views",
            (false, false, true) if status.primary == self.id => "primary",
            (false, false, true) => "backup",
        }
    }

    /// `bft views`.
    pub(crate) fn show_views(&self) -> Option<Record> {
        let status = self.bft()?.status();
        let next = status.view.next().primary(self.keyring.size());
        Some(
            Record::default()
                .with("view", status.view.0)
                .with("has_begun", status.is_active)
                .with("primary", status.primary.get())
                .with("next_primary", self.keyring.member(next).map(NodeId::get))
                .with("left", status.counters.views_left)
                .with("entered", status.counters.views_entered),
        )
    }

    /// `bft consensus`: the numbers in the window, and how far each has come.
    pub(crate) fn show_consensus(&self) -> Option<Listing> {
        let bft = self.bft()?;
        let status = bft.status();
        let mut numbers = Listing::new(&["number", "phase", "executed", "view", "signers"]);
        for number in (status.low.0 + 1..=status.high.0).map(Sequence) {
            let Some(phase) = bft.log().phase(number, status.view) else { continue };
            let proof = bft.log().certificate(number);
            numbers.push([
                number.0.into(),
                Value::text(phase),
                (number <= status.executed).into(),
                proof.map(|proof| proof.view.0).into(),
                proof.map(|proof| proof.signers.len() as u64).into(),
            ]);
        }
        Some(numbers)
    }

    /// `bft checkpoints`: the states that this node holds for others.
    pub(crate) fn show_checkpoints(&self) -> Option<Listing> {
        let replica = self.replica.as_ref()?;
        let low = replica.bft.status().low;
        let mut listing = Listing::new(&["number", "stable", "bytes", "digest"]);
        for (number, copy) in &replica.copies {
            listing.push([
                number.0.into(),
                (*number <= low).into(),
                (copy.len() as u64).into(),
                Value::text(crypto::Digest::of(copy)),
            ]);
        }
        Some(listing)
    }
}
