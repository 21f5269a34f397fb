//! Buffers move by ownership: none is ever held twice, none is ever lost.

use pool::{
    BURST, CHAIN_FRAMES_MAX, Frame, FrameChain, HEADROOM_BYTES, LARGE_BUFFER_BYTES, PAGE_BYTES,
    Pool, Returns,
};

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

#[test]
fn a_burst_is_taken_and_given_back_whole() {
    let pool = Pool::on_heap(40, PAGE_BYTES);
    let first: Vec<_> = pool.allocate_burst(100).collect();
    assert_eq!((first.len(), pool.free()), (BURST, 40 - BURST));
    let second: Vec<_> = pool.allocate_burst(20).collect();
    assert_eq!(second.len(), 8, "there are no more");
    assert_eq!(pool.statistics().exhausted, 1);
    let mut addresses: Vec<_> = first.iter().chain(&second).map(|it| it.device_address()).collect();
    assert!(addresses.is_sorted(), "the first taken is the first in memory");
    addresses.dedup();
    assert_eq!(addresses.len(), 40);

    let mut returns = Returns::default();
    let mut first = first.into_iter();
    first.by_ref().take(BURST - 1).for_each(|buffer| returns.push(buffer));
    assert_eq!(pool.free(), 0, "they go back together");
    first.for_each(|buffer| returns.push(buffer));
    assert_eq!(pool.free(), BURST, "as soon as they are a burst");
    second.into_iter().for_each(|buffer| returns.push(buffer));
    assert_eq!(pool.free(), BURST);
    returns.give_back();
    returns.give_back();
    assert_eq!(pool.free(), 40);

    let mut burst = pool.allocate_burst(3);
    let one = burst.next();
    drop(burst);
    assert_eq!(pool.free(), 39, "who takes one has one");
    drop(one);
    assert_eq!(pool.free(), 40);
}

#[test]
fn buffers_of_two_pools_find_their_way_back() {
    let pools = [Pool::on_heap(3, PAGE_BYTES), Pool::on_heap(3, LARGE_BUFFER_BYTES)];
    let mut returns = Returns::default();
    for _ in 0..3 {
        pools.iter().for_each(|pool| returns.push(pool.allocate().unwrap()));
    }
    drop(returns);
    assert_eq!(pools.map(|pool| pool.free()), [3, 3]);
}

#[test]
fn the_last_buffer_takes_the_pool_with_it() {
    // Under a checker of memory this fails if the pool goes too early, or never.
    let pool = Pool::on_heap(4, PAGE_BYTES);
    let held: Vec<_> = pool.allocate_burst(3).collect();
    drop(pool);
    let mut returns = Returns::default();
    for mut buffer in held {
        buffer.fill(1);
        let again = buffer.pool().allocate();
        returns.push(buffer);
        drop(again);
    }
    drop(returns);
}

#[test]
fn a_packet_in_several_frames_is_copied_only_on_demand() {
    let (pool, large) =
        (Pool::on_heap(CHAIN_FRAMES_MAX + 2, PAGE_BYTES), Pool::on_heap(1, LARGE_BUFFER_BYTES));
    let frame = |byte: u8| {
        let mut frame = pool.allocate_frame().unwrap();
        frame.append(PAGE_BYTES - HEADROOM_BYTES).fill(byte);
        frame
    };
    let single = FrameChain::new(frame(9)).into_contiguous(&large).unwrap();
    assert_eq!((large.free(), large.statistics().copied_bytes), (1, 0), "it lay in one");
    drop(single);

    let chain = || {
        let mut chain = FrameChain::new(frame(0));
        (1..CHAIN_FRAMES_MAX as u8).for_each(|byte| chain.push(frame(byte)).unwrap());
        chain
    };
    let mut full = chain();
    assert!(full.push(frame(99)).is_err(), "a chain has an end");
    assert_eq!(full.bytes(), CHAIN_FRAMES_MAX * (PAGE_BYTES - HEADROOM_BYTES));
    let expected: Vec<u8> = full.frames().iter().flat_map(|frame| frame.to_vec()).collect();
    let whole = full.into_contiguous(&large).unwrap();
    assert_eq!(*whole, *expected);
    assert_eq!(large.statistics().copied_bytes, expected.len() as u64);

    assert!(chain().into_contiguous(&large).is_none(), "the only buffer is held");
    assert!(chain().into_contiguous(&pool).is_none(), "a page does not hold it");
    assert!(chain().into_single().is_none());
    assert_eq!(pool.free(), CHAIN_FRAMES_MAX + 2);
}
