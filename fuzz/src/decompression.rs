//! Compressed layers: gzip, zstd, xz and bzip2.
//!
//! The input is the blob of a layer. Each decompressor is also called alone, over the whole blob at once: the
//! import must accept the layer only if that decodes the whole of it to what has the DiffID.

use std::io::{self, Read};

use plyfs_store::fixture::{EncodedLayer, ImageBuilder};
use plyfs_store::{
    Compression, Digest, Error, ImportRequest, LayerFault, Limits, Ownership, Silent, Source, Store,
};

use crate::check_message;
use crate::unpack::check_whole;
use crate::world::World;

/// The most that a layer may unpack to here, in bytes.
const LARGEST: u64 = 1 << 20;

pub(crate) fn run(data: &[u8]) {
    let world = World::new();
    let mut archive = Vec::new();
    let decoded = decode(data, &mut archive);
    let layer = EncodedLayer {
        blob: data.to_vec(),
        compression: Compression::None,
        digest: Digest::of(data),
        diff_id: Digest::of(&archive),
    };
    let dir = world.path("source");
    let image = ImageBuilder::new().encoded_layer(layer);
    image.write_oci(&dir, Some("test:1")).unwrap();
    let source = Source::parse(&format!("oci:{}", dir.display())).unwrap();
    let mut request = ImportRequest::new(source, Ownership::Override);
    request.limits = Limits {
        layer_bytes: LARGEST,
        layer_entries: 1000,
    };
    let store = Store::open(world.path("store")).unwrap();
    match store.import(&request, &Silent) {
        Ok(_) => {
            assert!(decoded.is_ok(), "accepted, but {decoded:?}");
            assert!(archive.len() as u64 <= LARGEST, "accepted, but too large");
            check_whole(&store, Ownership::Override);
        }
        Err(error) => {
            check_message(&error.to_string());
            let Error::Layer(error) = error else {
                panic!("another error: {error}")
            };
            if decoded.is_ok() && archive.len() as u64 <= LARGEST {
                let decodes = !matches!(
                    error.fault,
                    LayerFault::Compression { .. } | LayerFault::DiffId { .. }
                );
                assert!(decodes, "refused, but it can be decoded: {error}");
            }
        }
    }
    world.check(&["store", "source"]);
    world.check_staging("store");
}

/// Decodes a blob, or as much of it as there may be and one byte more.
fn decode(blob: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut decoder: Box<dyn Read + '_> = match blob {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(blob)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(blob)?;
            decoder.window_log_max(27)?;
            Box::new(decoder)
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(128 << 20, flags)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(blob, stream))
        }
        [
            b'B',
            b'Z',
            b'h',
            b'1'..=b'9',
            0x31,
            0x41,
            0x59,
            0x26,
            0x53,
            0x59,
            ..,
        ]
        | [
            b'B',
            b'Z',
            b'h',
            b'1'..=b'9',
            0x17,
            0x72,
            0x45,
            0x38,
            0x50,
            0x90,
            ..,
        ] => Box::new(bzip2::bufread::MultiBzDecoder::new(blob)),
        _ => Box::new(blob),
    };
    decoder.by_ref().take(LARGEST + 1).read_to_end(out)?;
    Ok(())
}
