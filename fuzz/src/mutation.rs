//! Pseudo-random changes of seeds, for runs without libFuzzer.

/// The longest input that is made, in bytes.
const LONGEST: usize = 4096;

/// Bytes that parsers treat in a way of their own.
const TOKENS: [&[u8]; 14] = [
    b"\0asm\x01\0\0\0",
    b"\0",
    b"\x7f",
    b"\x80\x80\x80\x80\x08",
    b"\xff\xff\xff\xff\x0f",
    b"sha256:",
    b"@1.0.0",
    b"{\"",
    b"[[[[",
    b"\\u0000",
    b"\"nan:0x1\"",
    b"1e999",
    b"-9223372036854775808",
    "\u{202e}é".as_bytes(),
];

/// A source of pseudo-random numbers (xorshift64*): the same ones for the same seed, everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// `seed` chooses the sequence.
    pub fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, or zero.
    fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 32) as usize).checked_rem(bound).unwrap_or(0)
    }

    /// One of `seeds`, changed in one to four places. There is at least one seed.
    pub fn mutate(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut input, seeds);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = at + self.below(input.len() - at + 1).min(64);
        match self.below(7) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.next() as u8,
            2 => drop(input.drain(at..end)),
            3 => {
                let repeated = input[at..end].to_vec();
                input.splice(at..at, repeated);
            }
            4 => {
                let token = TOKENS[self.below(TOKENS.len())];
                input.splice(at..at, token.iter().copied());
            }
            5 => {
                let other = &seeds[self.below(seeds.len())];
                let from = self.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
            _ => input.truncate(at),
        }
    }
}
