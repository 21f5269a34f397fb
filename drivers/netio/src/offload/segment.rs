//! Cutting one large TCP segment into frames (generic segmentation offload), for cards that cannot.

use pool::{Frame, HEADROOM_BYTES, Pool};

use super::headers::{CWR, FIN, Layout, PSH, RST, SYN, URG};

/// Why a frame was not cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentError {
    /// Segments of no length were asked for.
    NoLength,
    /// It has SYN, RST or URG set, which belong to one place in the stream.
    Control,
    /// The pool's buffers are too short for its headers and a segment's payload.
    BufferTooShort,
    /// The pool has fewer free buffers than there would be segments.
    PoolEmpty,
}

/// Whether cutting may begin, and how many segments there will be.
fn plan(
    frame: &Frame,
    layout: &Layout,
    bytes_max: usize,
    pool: &Pool,
) -> Result<usize, SegmentError> {
    if bytes_max == 0 {
        return Err(SegmentError::NoLength);
    }
    if layout.flags(frame) & (SYN | RST | URG) != 0 {
        return Err(SegmentError::Control);
    }
    let payload_bytes = layout.payload_range().len();
    let longest = layout.payload + payload_bytes.min(bytes_max);
    if pool.buffer_bytes() < HEADROOM_BYTES + longest {
        return Err(SegmentError::BufferTooShort);
    }
    // A segment without payload stays one.
    let segments = payload_bytes.div_ceil(bytes_max).max(1);
    if pool.free() < segments { Err(SegmentError::PoolEmpty) } else { Ok(segments) }
}

/// Cuts the TCP segment in `frame` into frames of at most `bytes_max` bytes of payload, and says how many.
/// Each has the headers of the whole, but its own sequence number, lengths, checksums and, in IPv4,
/// identification, which counts up. FIN and PSH are on the last one only (RFC 9293, 3.9.1.2: what is pushed
/// ends there), CWR on the first one only (RFC 3168, 6.1.2).
///
/// # Errors
/// Nothing was sent. Only if others take buffers of the pool at the same time, some frames may have been sent
/// before [`SegmentError::PoolEmpty`]; for TCP the rest is lost.
pub(super) fn segment(
    frame: &Frame,
    layout: &Layout,
    bytes_max: usize,
    pool: &Pool,
    mut send: impl FnMut(Frame),
) -> Result<usize, SegmentError> {
    let segments = plan(frame, layout, bytes_max, pool)?;
    let (flags, sequence) = (layout.flags(frame), layout.sequence(frame));
    let identification = layout.identification(frame);
    for index in 0..segments {
        let start = layout.payload + index * bytes_max;
        let end = layout.end.min(start + bytes_max);
        let not_first = if index == 0 { 0 } else { CWR };
        let not_last = if index == segments - 1 { 0 } else { FIN | PSH };

        let mut part = pool.allocate_frame().ok_or(SegmentError::PoolEmpty)?;
        part.append(layout.payload).copy_from_slice(&frame[..layout.payload]);
        part.append_copy(&frame[start..end]);
        layout.set_flags(&mut part, flags & !not_first & !not_last);
        layout.set_sequence(&mut part, sequence.wrapping_add((index * bytes_max) as u32));
        layout.set_identification(&mut part, identification.wrapping_add(index as u16));
        layout.seal(&mut part);
        send(part);
    }
    Ok(segments)
}
