//! Any bytes as the frames of an agent.

use bytes::Bytes;

use super::{Mux, MuxEvent};

/// The first byte is the length of the pieces. Streams get no more bytes than arrived, and none once the stream is broken.
pub(crate) fn mux(data: &[u8]) {
    let Some((piece, data)) = data.split_first() else { return };
    let mut mux = Mux::default();
    let streams = [mux.open(), mux.open()];
    mux.write(streams[0], Bytes::from_static(b"request"));
    let (mut received, mut broken) = (0, false);
    for piece in data.chunks(usize::from(*piece).max(1)) {
        mux.handle_data(Bytes::copy_from_slice(piece));
        while let Some(event) = mux.poll_event() {
            assert!(!broken, "an event behind what is not smux: {event:?}");
            match event {
                MuxEvent::Data(_, bytes) => received += bytes.len(),
                MuxEvent::Closed(_) | MuxEvent::Refused(_) => mux.handle_refusal(),
                MuxEvent::Broken(_) => broken = true,
            }
        }
        while mux.poll_frame().is_some() {}
    }
    assert!(received <= data.len());
}
