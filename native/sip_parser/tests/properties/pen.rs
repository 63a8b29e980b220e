//! A pen writes text that follows the grammar, in one of the many ways that the grammar allows.
//!
//! What it writes is decided by octets that proptest makes up. Where they run out the choice is the plainest
//! one, so that fewer and smaller octets, to which proptest shrinks a failure, are a plainer text.

use std::slice::Iter;

pub const TOKEN: &str = "azAZ059-.!%*_+`'~";
/// Without the separators behind a Call-ID that stands in a list.
pub const CALL_ID: &str = "azAZ059-.!%*_+`'~()<>:\\\"/[]?{}@#$&=|^éΩ";
pub const VALUE: &str = "azAZ059-.!%*_+`'~:/@[]?#&$()^|{}";
pub const ALNUM: &str = "azAZ059";
/// With blanks for a name of several words; those at its ends are never written.
pub const TEXT: &str = "aZ0 -.!%*_+`'~()<>:\\\"/[]?{}@;,=&#éΩ大";
pub const DISPLAY: &str = "azAZ059 -.!%*_+`'~é大@&$#/:()=[]?{}|^";
const QUOTED: &str = "aZ0 <>;,:@?=()'éΩ大\"\\\u{7}\u{7f}\t";

pub struct Pen<'a> {
    choices: Iter<'a, u8>,
    folds: Iter<'a, u8>,
    pub wire: String,
}

impl<'a> Pen<'a> {
    /// A pen that folds lines as `folds` say, and does all else as `choices` say.
    pub fn new(choices: &'a [u8], folds: &'a [u8]) -> Pen<'a> {
        Pen {
            choices: choices.iter(),
            folds: folds.iter(),
            wire: String::new(),
        }
    }

    /// One of so many ways; the first of them is the plainest.
    pub fn pick(&mut self, ways: usize) -> usize {
        usize::from(*self.choices.next().unwrap_or(&0)) % ways
    }

    /// Once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.pick(times) == times - 1
    }

    pub fn number(&mut self, most: u32) -> u32 {
        let octets = [(); 4].map(|()| *self.choices.next().unwrap_or(&0));
        match self.pick(3) {
            0 => u32::from(octets[0]).min(most),
            1 => ((u64::from(u32::from_le_bytes(octets)) * u64::from(most)) >> 32) as u32,
            _ => most,
        }
    }

    /// Writes the text as it is.
    pub fn put(&mut self, text: &str) {
        self.wire.push_str(text);
    }

    /// Writes a number, perhaps with zeros before it.
    pub fn put_number(&mut self, value: u32) -> String {
        let zeros = ["", "", "0", "000"][self.pick(4)];
        self.put(&format!("{zeros}{value}"));
        value.to_string()
    }

    /// Writes the text in any letter case; gives what was written.
    pub fn put_any_case(&mut self, text: &str) -> String {
        let cased: String = match self.pick(4) {
            0 => text.to_owned(),
            1 => text.to_lowercase(),
            2 => text.to_uppercase(),
            _ => text
                .chars()
                .map(|c| {
                    if self.once_in(2) {
                        c.to_ascii_uppercase()
                    } else {
                        c
                    }
                })
                .collect(),
        };
        self.put(&cased);
        cased
    }

    /// `[LWS]`
    pub fn blanks(&mut self) {
        let blanks = ["", "", "", " ", "\t", "  ", " \t "][self.pick(7)];
        self.put(blanks);
    }

    /// `LWS`
    pub fn some_blanks(&mut self) {
        let blanks = [" ", "\t", "   ", "\t \t"][self.pick(4)];
        self.put(blanks);
    }

    /// A separator with blanks around it.
    pub fn separator(&mut self, separator: &str) {
        self.blanks();
        self.put(separator);
        self.blanks();
    }

    /// A separator, perhaps with empty elements or parameters before it.
    pub fn separators(&mut self, separator: &str) {
        while self.once_in(12) {
            self.separator(separator);
        }
        self.separator(separator);
    }

    /// Separators with nothing between them, or nothing.
    pub fn empty(&mut self, separator: &str) {
        while self.once_in(16) {
            self.separator(separator);
        }
    }

    /// Writes from 1 to `most` of the octets.
    pub fn some_of(&mut self, octets: &str, most: usize) -> String {
        let octets: Vec<char> = octets.chars().collect();
        let length = 1 + self.pick(most);
        let text: String = (0..length)
            .map(|_| octets[self.pick(octets.len())])
            .collect();
        self.put(&text);
        text
    }

    /// Writes text of several words, between which stands one blank.
    pub fn words_of(&mut self, octets: &str, most: usize) -> String {
        let written = self.wire.len();
        let text = self.some_of(octets, most);
        let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
        let text = if words.is_empty() {
            "x".to_owned()
        } else {
            words.join(" ")
        };
        self.wire.truncate(written);
        self.put(&text);
        text
    }

    pub fn token(&mut self) -> String {
        self.some_of(TOKEN, 8)
    }

    /// Writes a quoted string; gives its text.
    pub fn quoted(&mut self) -> String {
        let octets: Vec<char> = QUOTED.chars().collect();
        let mut text: Vec<char> = (0..self.pick(12))
            .map(|_| octets[self.pick(octets.len())])
            .collect();
        // A fold makes one blank of several.
        text.dedup_by(|one, other| (*one, *other) == (' ', ' '));
        let text = String::from_iter(text);
        self.put("\"");
        self.escaped(&text, "\"\\");
        self.put("\"");
        text
    }

    /// Writes text with `\` before what needs it, and sometimes before what does not.
    fn escaped(&mut self, text: &str, special: &str) {
        for octet in text.chars() {
            let control = octet.is_control();
            if control || special.contains(octet) || octet.is_ascii() && self.once_in(8) {
                self.put("\\");
            }
            self.wire.push(octet);
        }
    }

    /// Writes a comment; gives its text.
    pub fn comment(&mut self) -> String {
        let text = ["", "a", "I'm in a meeting", "\\ ) ( \"", "é ; ,"][self.pick(5)].to_owned();
        self.put("(");
        self.escaped(&text, "()\\");
        let inner = if self.once_in(3) {
            format!("({})", self.comment())
        } else {
            String::new()
        };
        self.put(")");
        text + &inner
    }

    /// Folds what was written from `start` on at some of its blanks; gives it with a blank for each fold.
    pub fn fold(&mut self, start: usize) -> String {
        let flat = self.wire.split_off(start);
        let (mut unfolded, mut rest) = (String::new(), flat.as_str());
        while let Some(at) = rest.find([' ', '\t']) {
            let blanks = rest[at..]
                .find(|c| c != ' ' && c != '\t')
                .unwrap_or(rest.len() - at);
            let (before, run) = (&rest[..at], &rest[at..at + blanks]);
            rest = &rest[at + blanks..];
            let escapes = before.ends_with('\\') || before.is_empty() && unfolded.ends_with('\\');
            let fold = if escapes { None } else { self.next_fold() };
            self.put(before);
            self.put(fold.unwrap_or(run));
            unfolded.push_str(before);
            unfolded.push_str(fold.map_or(run, |_| " "));
        }
        self.put(rest);
        unfolded + rest
    }

    fn next_fold(&mut self) -> Option<&'static str> {
        match self.folds.next() {
            Some(octet) if octet % 2 == 1 => Some(FOLDS[usize::from(octet / 2) % FOLDS.len()]),
            _ => None,
        }
    }

    pub fn line_end(&mut self) {
        let end = ["\r\n", "\r\n", "\r\n", "\n", "\r\r\n"][self.pick(5)];
        self.put(end);
    }
}

const FOLDS: [&str; 6] = [
    "\r\n ",
    " \r\r\r\n ",
    " \r\n\t",
    "\t\n  ",
    "\r\n \r\n ",
    "  \r\n\t\t\r\n \n ",
];
