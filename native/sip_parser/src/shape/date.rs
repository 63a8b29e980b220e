//! `SIP-date = rfc1123-date`, always GMT (RFC 3261 §20.17).

use crate::cursor::Cursor;
use crate::error::{Fault, Parsed};
use crate::tree::{Date, Item, Span};

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
const WEEKDAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];

/// `wkday "," SP 2DIGIT SP month SP 4DIGIT SP time SP "GMT"`. A day of one digit and `UTC` are what some senders
/// write; that the day of the week fits the date is not asked for.
pub(super) fn element(cursor: &mut Cursor<'_>) -> Parsed<Item> {
    let start = cursor.pos();
    let date = match cursor.rest() {
        [a, b, c, b',', b' ', rest @ ..] if is_weekday(&[*a, *b, *c]) => {
            let digits = usize::from(rest.get(1) != Some(&b' ')) + 1;
            rest.split_at_checked(digits).and_then(|(day, rest)| {
                let date = date(day, rest.first_chunk()?)?;
                Some((date, 5 + digits + REST))
            })
        }
        _ => None,
    };
    match date {
        Some((date, length)) => {
            cursor.set_pos(start + length);
            Ok(Item::Date(date))
        }
        None => Err(Fault::Malformed(start)),
    }
}

fn is_weekday(text: &[u8; 3]) -> bool {
    WEEKDAYS.iter().any(|day| day.eq_ignore_ascii_case(text))
}

/// Octets behind the day: ` Nov 2010 23:29:00 GMT`.
const REST: usize = 22;

fn date(day: &[u8], text: &[u8; REST]) -> Option<Date> {
    let part = |start: usize, end: usize| Span::new(start, end).of(text);
    let blanks = [0, 4, 9, 18].iter().all(|at| text[*at] == b' ');
    let zone = matches!(part(19, 22), b"GMT" | b"UTC");
    if !blanks || !zone || text[12] != b':' || text[15] != b':' {
        return None;
    }
    let month = MONTHS
        .iter()
        .position(|month| month.eq_ignore_ascii_case(part(1, 4)))?;
    let date = Date {
        year: digits(part(5, 9))?,
        month: month as u8 + 1,
        day: digits(day)? as u8,
        hour: digits(part(10, 12))? as u8,
        minute: digits(part(13, 15))? as u8,
        second: digits(part(16, 18))? as u8,
    };
    let exists = (1..=days_in(date.year, date.month)).contains(&date.day)
        && date.hour < 24
        && date.minute < 60
        && date.second < 60;
    exists.then_some(date)
}

fn digits(text: &[u8]) -> Option<u16> {
    text.iter().try_fold(0, |value: u16, digit| {
        digit
            .is_ascii_digit()
            .then(|| value * 10 + u16::from(digit - b'0'))
    })
}

fn days_in(year: u16, month: u8) -> u8 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use crate::shape::testing::{reads, refuses};

    #[test]
    fn rfc3261_20_17_date() {
        reads(
            "Date",
            "Sat, 13 Nov 2010 23:29:00 GMT",
            &["2010-11-13 23:29:00"],
        );
        for (number, month) in [(1, "Jan"), (3, "Mar"), (5, "May"), (12, "Dec")] {
            let value = format!("Sat, 31 {month} 2000 00:00:59 GMT");
            reads("Date", &value, &[&format!("2000-{number:02}-31 00:00:59")]);
        }
        let value = "THu, 5 Jul 2018 05:00:00 GMT";
        reads("Date", value, &["2018-07-05 05:00:00"]);
    }

    #[test]
    fn rfc4475_3_1_2_12_only_gmt() {
        reads(
            "Date",
            "Fri, 01 Jan 2010 16:00:00 UTC",
            &["2010-01-01 16:00:00"],
        );
        for zone in ["EST", "UT ", "UCT", "gmt", "+00", "GMTX"] {
            refuses("Date", &[&format!("Fri, 01 Jan 2010 16:00:00 {zone}")]);
        }
    }

    #[test]
    fn malformed_dates() {
        refuses(
            "Date",
            &[
                "",
                "Sat, 13 Nov 2010 23:29 GMT",
                "Saturday, 13 Nov 2010 23:29:00 GMT",
                "Sat 13 Nov 2010 23:29:00 GMT",
                "Sat,  3 Nov 2010 23:29:00 GMT",
                "Sat, 013 Nov 2010 23:29:00 GMT",
                "Sat, 0 Nov 2010 23:29:00 GMT",
                "Sat, ",
                "Sat, 1",
                "Xxx, 13 Nov 2010 23:29:00 GMT",
                "Sat, 13 Xxx 2010 23:29:00 GMT",
                "Sat, 13-Nov-2010 23:29:00 GMT",
                "Sat, +3 Nov 2010 23:29:00 GMT",
                "Sat, 13 Nov 2010 23.29.00 GMT",
                "Sat, 13 Nov 2010 23:29:00\tGMT",
                "Sat, 13 Nov 2010 23:29:00 GM\u{e9}",
            ],
        );
    }

    #[test]
    fn days_and_times_that_do_not_exist() {
        reads(
            "Date",
            "Tue, 29 Feb 2000 00:00:00 GMT",
            &["2000-02-29 00:00:00"],
        );
        reads(
            "Date",
            "Thu, 29 Feb 2024 00:00:00 GMT",
            &["2024-02-29 00:00:00"],
        );
        for day in [
            "29 Feb 2023",
            "29 Feb 1900",
            "30 Feb 2024",
            "31 Apr 2024",
            "31 Jun 2024",
            "31 Sep 2024",
            "31 Nov 2024",
            "32 Jan 2024",
            "00 Jan 2024",
        ] {
            refuses("Date", &[&format!("Sat, {day} 00:00:00 GMT")]);
        }
        for time in ["24:00:00", "23:60:00", "23:59:60"] {
            refuses("Date", &[&format!("Sat, 13 Nov 2010 {time} GMT")]);
        }
    }
}
