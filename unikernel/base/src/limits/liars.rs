//! The limits of what is agreed on with nodes that may lie: their consensus, and the ledger.

use super::CLUSTER_NODES_MAX;

// ---- Byzantine agreement (Castro and Liskov, 1999 and 2002) ----------------------------------------

/// How many replicas a group that survives liars may have: certificates name them in 32 bits.
pub const BFT_REPLICAS_MAX: usize = 32;

const _: () = assert!(BFT_REPLICAS_MAX <= CLUSTER_NODES_MAX);
const _: () = assert!(BFT_REPLICAS_MAX <= u32::BITS as usize);

/// Views and sequence numbers in messages are at most this, so that nobody is made to count beyond 64 bits.
pub const BFT_NUMBER_MAX: u64 = u64::MAX / 2;

/// The longest request.
pub const BFT_REQUEST_MAX_BYTES: usize = 64 * 1024;

/// How many requests one sequence number orders at most.
pub const BFT_BATCH_MAX_REQUESTS: usize = 256;

/// How many bytes of requests one sequence number orders at most.
pub const BFT_BATCH_MAX_BYTES: usize = 128 * 1024;

/// A checkpoint is taken every so many sequence numbers (K).
pub const BFT_CHECKPOINT_EVERY: u64 = 32;

/// How far ahead of the last stable checkpoint replicas vote (L): the distance of the watermarks.
pub const BFT_WINDOW: u64 = 64;

/// The widest window that may be configured: a new view carries claims and a certificate for each number.
pub const BFT_WINDOW_MAX: u64 = 192;

/// How many sequence numbers a primary has under way at once; requests beyond wait for the next batch.
pub const BFT_IN_FLIGHT_MAX: u64 = 8;

/// How many requests a replica waits for; more are refused.
pub const BFT_PENDING_MAX: usize = 4096;

/// How many of those may have come from one other replica.
pub const BFT_PENDING_PER_PEER_MAX: usize = 512;

/// The spans below are those of a group of so many replicas …
pub const BFT_SPANS_REPLICAS: u64 = 4;

/// … and longer by once their length for each so many more: a decision has more signatures then.
pub const BFT_SPANS_DOUBLE_PER_REPLICAS: u64 = 21;

/// A replica whose oldest request is not executed for this long leaves the view.
pub const BFT_PROGRESS_TIMEOUT_MS: u64 = 600;

/// One whose primary it does not listen to leaves it after one in so many parts of that span.
pub const BFT_MUTED_PATIENCE_SHARE: u64 = 6;

/// A primary that the network says is gone has this long to give a sign of life, or its view is left.
pub const BFT_GONE_AFTER_MS: u64 = 50;

/// A request is executed within this many times that span, whatever else is, or the view is left.
pub const BFT_STARVATION_FACTOR: u64 = 4;

/// A request that is not executed within this span is given to all replicas, so that they wait for it too.
pub const BFT_RELAY_AFTER_MS: u64 = 250;

/// A request of another replica is given to all by one replica after the other, so many in that span.
pub const BFT_RELAY_TURNS_PER_TIMEOUT: u64 = 4;

/// The spans above double after each view that brought nothing, up to so many times.
pub const BFT_TIMEOUT_DOUBLINGS_MAX: u32 = 6;

/// A primary that has a quorum waits for as many more votes as decide at once while they come no later than
/// this one after the other …
pub const BFT_FAST_PATIENCE_MS: u64 = 40;

/// … and so many times this at most.
pub const BFT_FAST_PATIENCE_MOST: u64 = 3;

/// What has not been answered is sent again after this span.
pub const BFT_RESEND_EVERY_MS: u64 = 200;

/// A replica that the primary asked, and that was silent for so long, is asked last for this span or longer.
pub const BFT_DOUBT_MS: u64 = 5_000;

/// Those who wait for an answer have this much of a start over those who are only told what was decided:
/// enough to verify a quorum's signatures on a machine that all share.
pub const BFT_TELL_AFTER_MS: u64 = 30;

/// And more by this for each replica beyond [`BFT_SPANS_REPLICAS`].
pub const BFT_TELL_AFTER_MORE_MS: u64 = 4;

/// Each replica tells one other how far it is, in turn, once in this span.
pub const BFT_STATUS_EVERY_MS: u64 = 250;

/// When nothing was executed for so long that each has told each, that span is so many times as long: an idle
/// machine sleeps.
pub const BFT_STATUS_CALM_FACTOR: u64 = 4;

/// A replica that lags asks another one when it has heard nothing for this span.
pub const BFT_FETCH_WITHIN_MS: u64 = 200;

/// How many committed batches answer one question.
pub const BFT_FETCH_BATCHES_MAX: usize = 16;

/// How many bytes of committed batches answer one question; a single larger one is sent alone.
pub const BFT_FETCH_MAX_BYTES: usize = 512 * 1024;

/// How many certificates a replica remembers having verified.
pub const BFT_VERIFIED_REMEMBERED: usize = 512;

/// How many messages of a replica wait for its disk; more are dropped, and sent again like lost ones.
pub const BFT_WITHHELD_MAX: usize = 4096;

/// What a peer may cost is counted anew after this span.
pub const BFT_ALLOWANCE_EVERY_MS: u64 = 100;

/// How many signatures of a peer's messages may turn out bad in that span: then it is not listened to.
pub const BFT_BAD_SIGNATURES_MAX: u32 = 8;

/// How many signatures may be verified in that span for messages of a peer of which one is bad then: as many
/// as a certificate has.
pub const BFT_WASTED_CHECKS_MAX: u64 = BFT_REPLICAS_MAX as u64;

/// How many messages answer the questions of a peer in that span.
pub const BFT_ANSWERS_MAX: u32 = 32;

/// How many signatures are verified before the node's other services have their turn: what is to be verified
/// for one message beyond that goes on in the next. A turn costs a busy machine as much as some signatures
/// do: with four, a decision of 32 replicas on two cores took three times as long.
pub const BFT_CHECKS_PER_TURN: u64 = BFT_REPLICAS_MAX as u64;

/// How many messages of one peer wait to be looked at …
pub const BFT_INBOX_MESSAGES_MAX: usize = 128;

/// … and how many bytes they have together, but for the last; what comes then is lost. A primary tells of all
/// that it has under way at once.
pub const BFT_INBOX_MAX_BYTES: usize = BFT_IN_FLIGHT_MAX as usize * BFT_BATCH_MAX_BYTES;

/// With so many bytes of all peers together, each may have one message waiting.
pub const BFT_INBOX_ALL_MAX_BYTES: usize = 8 * 1024 * 1024;

const _: () = assert!(BFT_WINDOW >= 2 * BFT_CHECKPOINT_EVERY && BFT_WINDOW <= BFT_WINDOW_MAX);
const _: () = assert!(BFT_IN_FLIGHT_MAX <= BFT_CHECKPOINT_EVERY);
// All that a primary has under way is sent to all at least once before anything is dropped.
const _: () = assert!(BFT_WITHHELD_MAX >= 4 * BFT_IN_FLIGHT_MAX as usize * BFT_REPLICAS_MAX);
const _: () = assert!(BFT_BATCH_MAX_BYTES >= BFT_REQUEST_MAX_BYTES);
const _: () = assert!(BFT_PENDING_MAX >= BFT_BATCH_MAX_REQUESTS);
// Liars alone do not fill the list of what is waited for.
const _: () = assert!(BFT_PENDING_PER_PEER_MAX * (BFT_REPLICAS_MAX / 4) <= BFT_PENDING_MAX);
// A lost message is sent again, and the request given to all, before anybody leaves a view.
const _: () = assert!(2 * BFT_RESEND_EVERY_MS < BFT_PROGRESS_TIMEOUT_MS);
const _: () = assert!(2 * BFT_RELAY_AFTER_MS < BFT_PROGRESS_TIMEOUT_MS);
// Who is only told late does not come to ask first.
const _: () = assert!(BFT_TELL_AFTER_MS < BFT_RESEND_EVERY_MS);
// Whether a fast quorum comes is known before anything is sent again.
const _: () = assert!(BFT_FAST_PATIENCE_MOST * BFT_FAST_PATIENCE_MS < BFT_RESEND_EVERY_MS);
// Liars that are silent again and again cost less than half of the time.
const _: () = assert!(BFT_RESEND_EVERY_MS * 8 * 2 < BFT_DOUBT_MS);

// ---- Ledger -------------------------------------------------------------------------------------

/// The longest entry.
pub const LEDGER_ENTRY_MAX_BYTES: usize = 32 * 1024;

/// How many entries one request has at most, under one signature of the gateway …
pub const LEDGER_REQUEST_MAX_ENTRIES: usize = 256;

/// … and how many bytes they have together.
pub const LEDGER_REQUEST_MAX_BYTES: usize = 56 * 1024;

/// How many requests of one gateway are under way at once; entries beyond wait, and go together.
pub const LEDGER_REQUESTS_IN_FLIGHT_MAX: usize = 4;

/// How many entries of one node's clients wait; more are refused.
pub const LEDGER_WAITING_MAX: usize = 512;

/// How many requests that clients of one node have signed themselves are under way at once.
pub const LEDGER_SIGNED_IN_FLIGHT_MAX: usize = 8;

/// How many clients that sign themselves are remembered, for ever; those that come later are refused.
pub const LEDGER_CLIENTS_MAX: usize = 1024;

/// How many entries that a node does not hold it asks others for at once; clients are refused more.
pub const LEDGER_SOUGHT_MAX: usize = 16;

/// `bft verify` reads one record of the ledger, and proves it, once in this span.
pub const LEDGER_VERIFY_EVERY_MS: u64 = 5;

const _: () = assert!(LEDGER_ENTRY_MAX_BYTES <= LEDGER_REQUEST_MAX_BYTES);
// A request has a length in front of each entry, and a head and a signature.
const _: () = assert!(
    BFT_REQUEST_MAX_BYTES >= LEDGER_REQUEST_MAX_BYTES + 4 * LEDGER_REQUEST_MAX_ENTRIES + 128
);
