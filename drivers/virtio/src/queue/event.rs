//! When an index that moves needs a notification.

/// Whether an index that moved from `old` to `new` has passed `event`, the one that the other side waits for
/// (Virtio 1.3, section 2.7.7.1). All three wrap at 2^16, and so does the comparison.
pub fn notification_wanted(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::notification_wanted;

    /// The definition, step by step: some index in `old..new` is the event.
    fn walked(event: u16, new: u16, old: u16) -> bool {
        let mut index = old;
        while index != new {
            if index == event {
                return true;
            }
            index = index.wrapping_add(1);
        }
        false
    }

    /// P9: a comparison by size fails at the wrap.
    #[test]
    fn the_window_test_agrees_with_walking_across_the_wrap() {
        for start in [0_u16, 1, 1000, 0x7ff0, 0x7fff, 0x8000, 0xfff0, 0xfffe, 0xffff] {
            for moved in 0..40_u16 {
                let new = start.wrapping_add(moved);
                for distance in -50_i16..50 {
                    let event = start.wrapping_add_signed(distance);
                    assert_eq!(
                        notification_wanted(event, new, start),
                        walked(event, new, start),
                        "event {event}, new {new}, old {start}"
                    );
                }
            }
        }
    }
}
