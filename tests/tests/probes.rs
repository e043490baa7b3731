//! The probes that tracers attach to: the binary has those that the page of `tools/PROFILING.md` lists, with as many
//! arguments, and the scripts of `tools/bpftrace` use no others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use net::codec::Opcode;
use object::elf::{FileHeader64, NoteType};
use object::read::elf::{FileHeader, SectionHeader};
use object::{Endianness, Object};

const PROVIDER: &str = "broadhead";
const PAGE: &str = "PROFILING.md";
const SCRIPTS: &str = "bpftrace";
/// Notes of this owner and type describe probes.
const NOTE_OWNER: &[u8] = b"stapsdt";
const NOTE_TYPE: NoteType = NoteType(3);
/// A description begins with three addresses: of the probe, of the base section, of the semaphore.
const ADDRESSES_BYTES: usize = 3 * size_of::<u64>();

/// Arguments of each probe, by name.
type Probes = BTreeMap<String, usize>;

fn tools(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("tools").join(name)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The probes of the page: rows like `` | `name` | `first`, `second` | when | ``.
fn documented() -> Probes {
    let mut probes = Probes::new();
    let page = read(&tools(PAGE));
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, arguments, _, _] = cells[..] else { panic!("not a row of the table of probes: {line}") };
        let name = name.trim_matches('`').to_owned();
        let before = probes.insert(name, arguments.split(", ").filter(|argument| !argument.is_empty()).count());
        assert_eq!(before, None, "listed twice: {line}");
    }
    probes
}

/// The probes of a binary. One that the compiler has put in several places must be the same everywhere.
fn compiled(binary: &[u8]) -> Probes {
    let mut probes = Probes::new();
    let elf = object::read::elf::ElfFile64::<Endianness>::parse(binary).expect("an ELF file");
    let section = elf.section_by_name(".note.stapsdt").expect("the binary has probes");
    let section = section.elf_section_header();
    let endian = FileHeader64::<Endianness>::endian(elf.elf_header()).expect("an ELF file");
    let notes = section.notes(endian, binary).expect("whole notes").expect("a section of notes");
    for note in notes {
        let note = note.expect("a whole note");
        assert_eq!((note.name(), note.n_type(endian)), (NOTE_OWNER, NOTE_TYPE));
        let mut texts = note.desc()[ADDRESSES_BYTES..].split(|&byte| byte == 0);
        let mut text = || std::str::from_utf8(texts.next().expect("three texts")).expect("ASCII").to_owned();
        let (provider, name, arguments) = (text(), text(), text());
        if provider != PROVIDER {
            continue; // of the C library
        }
        let count = arguments.split_whitespace().count();
        let before = probes.insert(name.clone(), count);
        assert!(before.is_none_or(|before| before == count), "{name} has {count} arguments here, {before:?} there");
    }
    probes
}

#[test]
fn the_binary_has_the_probes_that_the_page_lists() {
    let binary = std::fs::read(tests::server::program()).expect("readable");
    assert_eq!(compiled(&binary), documented(), "left: the binary, right: tools/{PAGE}");
}

#[test]
fn the_scripts_use_probes_and_arguments_that_are_there() {
    let probes = documented();
    let scripts: Vec<PathBuf> = std::fs::read_dir(tools(SCRIPTS))
        .expect("the folder of scripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bt"))
        .collect();
    assert!(!scripts.is_empty());
    let attach = format!("usdt:*:{PROVIDER}:");
    for script in scripts {
        let text = read(&script);
        let name = script.display();
        let mut arguments = 0;
        for line in text.lines() {
            // What stands at the margin begins a block.
            if line.starts_with(char::is_alphabetic) {
                let event = line.split_whitespace().next().expect("not empty");
                arguments = match event.strip_prefix(&attach) {
                    Some(probe) => *probes.get(probe).unwrap_or_else(|| panic!("{name}: no probe {probe}")),
                    None => {
                        let is_own = event == "BEGIN" || event == "END" || event.starts_with("interval:");
                        assert!(is_own, "{name} uses something else than the probes: {event}");
                        0
                    }
                };
            }
            for place in line.match_indices("arg").map(|(at, _)| &line[at + 3..]) {
                let digits: String = place.chars().take_while(char::is_ascii_digit).collect();
                let Ok(place) = digits.parse::<usize>() else { continue };
                assert!(place < arguments, "{name}: the probe has {arguments} arguments: {line}");
            }
        }
        assert!(read(&tools(PAGE)).contains(script.file_name().and_then(|file| file.to_str()).expect("UTF-8")));
    }
}

#[test]
fn the_scripts_name_operations_by_their_numbers() {
    assert_eq!([Opcode::Write, Opcode::Delete, Opcode::Search].map(Opcode::code), [6, 7, 10]);
}
