//! A seeded dice, and what it does to bytes: flips, cuts, repeats, splices, and words that parsers trip over.

/// A small generator (xorshift64*), the same on every machine.
pub struct Dice(u64);

impl Dice {
    /// From a seed; neighbouring seeds give unlike rows.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Words that have broken parsers before.
const WORDS: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b"null",
    b"true",
    b"-1",
    b"-0",
    b"1e999",
    b"1e-999",
    b"NaN",
    b"0x10",
    b"99999999999999999999",
    b"4294967296",
    b"65536",
    b"0.1",
    b"\\u0000",
    b"\\ud800",
    b"\\uD83D\\uDE00",
    b"\r\n",
    b"\0",
    b"\xff\xfe",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98\x80",
    b"\xe2\x80\xae",
    b"%",
    b"%0",
    b"%00",
    b"%zz",
    b"%c0%af",
    b"+",
    b"&",
    b"=",
    b";",
    b"@@",
    b"##",
    b">>",
    b"*",
    b",",
    b"..",
    b"/",
    b"../",
    b"\"a\":",
    b"{\"a\":1}",
    b"[[",
    b"{\"\":{\"\":",
];

/// The longest input, in bytes; repeats stop there.
const INPUT_BYTES_MAX: usize = 32 * 1024;

/// One mutation of one or two members of the corpus.
pub fn mutation(dice: &mut Dice, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(6) {
        let at = dice.below(input.len() + 1);
        let end = at + dice.below(input.len() - at + 1);
        match dice.below(9) {
            0 if at < input.len() => input[at] ^= 1 << dice.below(8),
            1 if at < input.len() => input[at] = dice.below(256) as u8,
            2 => drop(input.drain(at..end)),
            3 => input.truncate(at),
            4 => {
                let word = WORDS[dice.below(WORDS.len())];
                input.splice(at..at, word.iter().copied());
            }
            5 => {
                let word = WORDS[dice.below(WORDS.len())];
                input.splice(at..end, word.iter().copied());
            }
            6 => {
                let part = input[at..end].to_vec();
                let times = 1 << dice.below(10);
                let room = INPUT_BYTES_MAX.saturating_sub(input.len()) / part.len().max(1);
                input.splice(at..at, part.repeat(times.min(room)));
            }
            7 => {
                let other = &corpus[dice.below(corpus.len())];
                let from = dice.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
            _ => {
                let deep = 1 << dice.below(14);
                let open = [b"[".as_slice(), b"{\"a\":", b"(", b"\""][dice.below(4)];
                input.splice(at..at, open.repeat(deep));
            }
        }
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_input_again_and_another_seed_another() {
        let corpus = [br#"{"ip":"10.0.0.1"}"#.to_vec(), b"a=b&c=d".to_vec()];
        let of = |seed| mutation(&mut Dice::new(seed), &corpus);

        assert!((1..100).all(|seed| of(seed) == of(seed)));
        let different: std::collections::BTreeSet<_> = (1..100).map(of).collect();
        assert!(different.len() > 80, "{}", different.len());
    }
}
