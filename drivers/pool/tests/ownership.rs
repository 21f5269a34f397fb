//! Buffers move by ownership: none is ever held twice, none is ever lost.

use pool::{Frame, HEADROOM_BYTES, PAGE_BYTES, Pool};

#[test]
fn every_buffer_is_taken_once_and_comes_back() {
    let pool = Pool::on_heap(512, PAGE_BYTES);
    let mut held: Vec<_> = (0..512).map(|_| pool.allocate().expect("there are 512")).collect();
    let mut addresses: Vec<_> = held.iter().map(|buffer| buffer.device_address()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 512);
    assert!(addresses.iter().all(|address| address.is_multiple_of(PAGE_BYTES as u64)));

    assert!(pool.allocate().is_none(), "the 513th does not exist");
    assert_eq!(pool.statistics().exhausted, 1);

    held.pop();
    assert_eq!(pool.free(), 1);
    drop(held);
    assert_eq!(pool.free(), 512);
}

#[test]
fn a_buffer_outlives_every_other_handle_of_its_pool() {
    let pool = Pool::on_heap(1, PAGE_BYTES);
    let mut buffer = pool.allocate().unwrap();
    drop(pool);
    buffer.fill(7);
    assert!(buffer.iter().all(|&byte| byte == 7));
}

#[test]
fn headers_go_in_front_and_payload_behind() {
    let pool = Pool::on_heap(1, PAGE_BYTES);
    let mut frame = pool.allocate_frame().unwrap();
    frame.append_copy(b"payload");
    frame.prepend(3).copy_from_slice(b"hd:");
    assert_eq!(&frame[..], b"hd:payload");
    assert_eq!(frame.headroom(), HEADROOM_BYTES - 3);
    assert_eq!(pool.statistics().copied_bytes, 7);

    frame.trim_front(3);
    frame.truncate(3);
    assert_eq!(&frame[..], b"pay");
    frame.truncate(100);
    assert_eq!(frame.len(), 3);
}

#[test]
fn a_received_frame_lies_inside_its_buffer() {
    let pool = Pool::on_heap(1, PAGE_BYTES);
    let at_the_end = Frame::from_received(pool.allocate().unwrap(), PAGE_BYTES - 4, 4);
    assert_eq!(at_the_end.map(|frame| frame.len()), Some(4));
    assert!(Frame::from_received(pool.allocate().unwrap(), PAGE_BYTES - 4, 5).is_none());
    assert!(Frame::from_received(pool.allocate().unwrap(), 1, usize::MAX).is_none());
    assert_eq!(pool.free(), 1);
}

#[test]
#[should_panic(expected = "tailroom")]
fn a_frame_never_grows_beyond_its_buffer() {
    let pool = Pool::on_heap(1, PAGE_BYTES);
    pool.allocate_frame().unwrap().append(PAGE_BYTES);
}
