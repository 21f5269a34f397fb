//! What happened, as a fingerprint and, if somebody wants to read it, as lines.

use base::{Instant, NodeId};
use wire::{Kind, Packet, Repr, ServiceId};

/// Where the envelope begins in a frame: behind the headers of Ethernet, IPv4 and UDP.
const ENVELOPE: usize = 14 + 20 + 8;

/// How a line of a node's trace begins.
const TRANSITION: &str = "{\"event\":";

/// The events of a run. Two runs with the same fingerprint did the same.
#[derive(Debug, Default)]
pub struct Trace {
    digest: u64,
    lines: Option<Vec<String>>,
    /// The steps of Raft, one JSON object each, as the nodes write them on their consoles.
    transitions: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps lines, or only a fingerprint.
    pub fn new(keeps_lines: bool) -> Trace {
        Trace { lines: keeps_lines.then(Vec::new), ..Trace::default() }
    }

    /// The same, with the steps of Raft.
    pub fn with_transitions(self, keeps_them: bool) -> Trace {
        Trace { transitions: keeps_them.then(Vec::new), ..self }
    }

    /// Whether the steps of Raft are kept.
    pub fn keeps_transitions(&self) -> bool {
        self.transitions.is_some()
    }

    /// Takes what a node writes on its console.
    pub fn take_console(&mut self, text: &[u8]) {
        if let Some(transitions) = &mut self.transitions {
            let text = String::from_utf8_lossy(text);
            let starts = text.lines().filter_map(|line| Some(&line[line.find(TRANSITION)?..]));
            transitions.extend(starts.map(str::to_owned));
        }
    }

    /// The steps of Raft so far.
    pub fn transitions(&self) -> &[String] {
        self.transitions.as_deref().unwrap_or_default()
    }

    /// Takes something in that happened to a node: what kind of thing, and its bytes.
    pub fn mix(&mut self, now: Instant, kind: u64, id: NodeId, bytes: &[u8]) {
        self.mix_word(now.as_nanos());
        self.mix_word(kind << 16 | u64::from(id.get()));
        self.mix_bytes(bytes);
    }

    fn mix_bytes(&mut self, bytes: &[u8]) {
        self.mix_word(bytes.len() as u64);
        let words = bytes.chunks_exact(8);
        let rest = words.remainder().iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        words.for_each(|word| self.mix_word(u64::from_le_bytes(word.try_into().expect("eight"))));
        self.mix_word(rest);
    }

    /// FNV-1a on words instead of bytes: it need not withstand anybody.
    fn mix_word(&mut self, word: u64) {
        self.digest = (self.digest ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }

    /// Keeps a line, if lines are kept.
    pub fn tell(&mut self, now: Instant, text: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let micros = now.as_micros();
            lines.push(format!("{:>4}.{:06} {}", micros / 1_000_000, micros % 1_000_000, text()));
        }
    }

    /// The fingerprint of everything so far.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The lines so far.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}

/// A fingerprint of bytes, for comparison within a run.
pub fn fingerprint(kind: u8, bytes: &[u8]) -> u64 {
    let mut trace = Trace::default();
    trace.mix_word(u64::from(kind));
    trace.mix_bytes(bytes);
    trace.digest
}

/// What a frame says, in a few words.
pub fn describe(frame: &[u8]) -> String {
    let envelope = frame.get(ENVELOPE..).unwrap_or_default();
    let Ok(packet) = Packet::new_checked(envelope) else {
        return format!("{} bytes that are no frame of the cluster", frame.len());
    };
    match Repr::parse(&packet) {
        Ok(repr) => describe_content(&repr, packet.content()),
        Err(refusal) => format!("a frame that is refused: {refusal:?}"),
    }
}

fn describe_content(repr: &Repr, content: &[u8]) -> String {
    let wanted = repr.wanted;
    match repr.kind {
        Kind::Acknowledgement => format!("ack: wants {wanted}"),
        Kind::Datagram { service, .. } => describe_message(service, content),
        Kind::Data { service, sequence, is_first: true, is_last: true, .. } => {
            format!("#{sequence} {}", describe_message(service, content))
        }
        Kind::Data { service, sequence, place, message_length, .. } => {
            format!("#{sequence} {service:?} from byte {place} of {message_length}")
        }
    }
}

fn describe_message(service: ServiceId, content: &[u8]) -> String {
    match service {
        ServiceId::Kv => format!("kv, {} bytes", content.len()),
        ServiceId::Bft => format!("bft, {} bytes", content.len()),
        ServiceId::Members => match node::members::Message::decode(content) {
            Ok(message) => format!("{message:?}"),
            Err(error) => format!("members, unreadable: {error:?}"),
        },
        ServiceId::Raft => match raft::Message::decode(&bytes::Bytes::copy_from_slice(content)) {
            Ok(raft::Message::Append { term, prev_index, prev_term, commit, entries }) => {
                let (first, count) = (prev_index.next(), entries.len());
                format!(
                    "Append of term {term}: {count} from {first} behind term {prev_term}, commit {commit}"
                )
            }
            Ok(message) => format!("{message:?}"),
            Err(error) => format!("raft, unreadable: {error:?}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_depends_on_all_that_is_mixed_in() {
        let digest = |millis, kind, id, bytes: &[u8]| {
            let mut trace = Trace::default();
            trace.mix(Instant::from_millis(millis), kind, NodeId::new(id).unwrap(), bytes);
            trace.digest()
        };
        let all = [
            digest(1, 1, 1, b"0123456789"),
            digest(2, 1, 1, b"0123456789"),
            digest(1, 2, 1, b"0123456789"),
            digest(1, 1, 2, b"0123456789"),
            digest(1, 1, 1, b"0123456788"),
            digest(1, 1, 1, b"1123456789"),
        ];
        let different: std::collections::BTreeSet<u64> = all.into_iter().collect();
        assert_eq!(different.len(), all.len());
    }

    #[test]
    fn lines_are_kept_on_demand() {
        let mut silent = Trace::new(false);
        silent.tell(Instant::ORIGIN, || unreachable!("nobody reads it"));
        let mut trace = Trace::new(true);
        trace.tell(Instant::from_millis(1_234), || "node 1 starts".into());
        assert_eq!(trace.lines(), ["   1.234000 node 1 starts"]);
        assert_eq!(describe(b"short"), "5 bytes that are no frame of the cluster");
    }
}
