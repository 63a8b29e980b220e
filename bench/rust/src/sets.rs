//! The messages: the six of `bench/messages`, and those of the corpus where it is there.

use crate::subjects::SUBJECTS;
use std::fs;
use std::path::{Path, PathBuf};

/// Messages that are timed together.
pub(crate) struct Set {
    pub(crate) name: String,
    pub(crate) messages: Vec<Vec<u8>>,
}

impl Set {
    /// The messages that ours and at least one of the crates take: a refusal costs nothing.
    pub(crate) fn kept(&self) -> Vec<&[u8]> {
        let taken = |message: &&[u8]| {
            let [ours, crates @ ..] = &SUBJECTS[..3] else {
                return false;
            };
            ours.takes(message) && crates.iter().any(|subject| subject.takes(message))
        };
        let messages = self.messages.iter().map(Vec::as_slice);
        messages.filter(taken).collect()
    }

    fn of(name: &str, folder: &Path) -> Option<Set> {
        let messages: Vec<Vec<u8>> = files(folder).iter().map(|path| read(path)).collect();
        if messages.is_empty() {
            eprintln!("SKIPPED {name}: no messages in {}", folder.display());
            return None;
        }
        Some(Set {
            name: name.to_owned(),
            messages,
        })
    }
}

/// Each message of `bench/messages` by itself, then the larger sets.
pub(crate) fn all() -> Vec<Set> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let corpus = match std::env::var_os("SIPPET_CORPUS") {
        Some(folder) => PathBuf::from(folder),
        None => project.join("../shared/corpus"),
    };
    let single = files(&project.join("bench/messages"))
        .into_iter()
        .map(|path| Set {
            name: path.file_stem().unwrap_or_default().display().to_string(),
            messages: vec![read(&path)],
        });
    let larger = [
        ("mix", corpus.join("bench/mix")),
        ("clients", project.join("test/fixtures/clients")),
        ("flows", corpus.join("flows")),
    ];
    single
        .chain(
            larger
                .iter()
                .filter_map(|(name, folder)| Set::of(name, folder)),
        )
        .collect()
}

/// One request at sizes from half a kilobyte to what a datagram holds: hops are added to its Via.
pub(crate) fn growing() -> Vec<Vec<u8>> {
    const VIA: &str = "Via: SIP/2.0/UDP proxy.example.com:5060;branch=z9hG4bK776asdhds;rport\r\n";
    let request = |hops: usize| {
        let vias = VIA.repeat(hops);
        format!(
            "OPTIONS sip:carol@chicago.com SIP/2.0\r\n{vias}Max-Forwards: 70\r\n\
             To: <sip:carol@chicago.com>\r\nFrom: Alice <sip:alice@atlanta.com>;tag=1928301774\r\n\
             Call-ID: a84b4c76e66710\r\nCSeq: 63104 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
        .into_bytes()
    };
    let rest = request(0).len();
    let sizes = (0..8).map(|power| 500 << power);
    sizes
        .map(|size| request((size - rest) / VIA.len()))
        .collect()
}

/// The folder's `.sip` and `.dat` files, by name; none where there is no folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|kind| kind == "sip" || kind == "dat")
        })
        .collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
