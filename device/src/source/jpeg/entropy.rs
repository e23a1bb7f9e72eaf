//! Whether the scans of a JPEG picture hold all that its header promises: their Huffman codes are
//! read and counted, without working out a pixel. A decoder draws what it has of a picture that was
//! cut off, and paints the rest grey; this tells.
//!
//! Names are those of the standard (ITU-T T.81): a scan codes the coefficients `Ss` to `Se` of its
//! components' blocks, down to bit `Al`; `Ah` is 0 where it is the first to do so.

use super::Damage;

/// More scans than any encoder writes: a small file could keep the reader busy with them.
const MOST_SCANS: usize = 100;

/// One component, as the frame header describes it.
#[derive(Clone, Debug)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Sampling factors.
    pub(super) horizontal: usize,
    pub(super) vertical: usize,
}

/// The Huffman codes of one table.
#[derive(Clone, Debug)]
struct Codes {
    /// Of each length, one more than its largest code, aligned to 16 bits.
    ends: [u32; 16],
    /// Of each length, the index in `values` of code 0, if it had that length.
    starts: [i32; 16],
    values: Vec<u8>,
}

impl Codes {
    fn new(counts: [u8; 16], values: &[u8]) -> Self {
        let (mut code, mut index) = (0_u32, 0_i32);
        let (mut ends, mut starts) = ([0; 16], [0; 16]);
        for (length, count) in counts.into_iter().enumerate() {
            starts[length] = index - code as i32;
            code += u32::from(count);
            index += i32::from(count);
            ends[length] = code << (15 - length);
            code <<= 1;
        }
        Self {
            ends,
            starts,
            values: values.to_vec(),
        }
    }

    /// The length of the code that 16 bits begin with, and what it stands for.
    fn find(&self, bits: u16) -> Result<(u32, u8), Damage> {
        let length = self
            .ends
            .iter()
            .position(|&end| u32::from(bits) < end)
            .ok_or(Damage::Code)?;
        let code = i32::from(bits >> (15 - length));
        let value = usize::try_from(self.starts[length] + code)
            .ok()
            .and_then(|index| self.values.get(index));
        Ok((length as u32 + 1, *value.ok_or(Damage::Code)?))
    }
}

/// The bits of a scan up to the next restart mark.
struct Bits<'a> {
    data: &'a [u8],
    /// Where the next byte is.
    at: usize,
    buffer: u64,
    /// How many of the buffer's lowest bits were not read yet.
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self {
            data,
            at: 0,
            buffer: 0,
            count: 0,
        }
    }

    fn fill(&mut self) {
        while self.count <= 56 {
            let Some(&byte) = self.data.get(self.at) else {
                return;
            };
            if byte == 0xff {
                if self.data.get(self.at + 1) != Some(&0) {
                    return; // a restart mark, or the end
                }
                self.at += 1;
            }
            self.at += 1;
            self.buffer = self.buffer << 8 | u64::from(byte);
            self.count += 8;
        }
    }

    fn bits(&mut self, count: u8) -> Result<u32, Damage> {
        let count = u32::from(count);
        if self.count < count {
            self.fill();
        }
        self.count = self.count.checked_sub(count).ok_or(Damage::Cut)?;
        Ok((self.buffer >> self.count) as u32 & ((1 << count) - 1))
    }

    fn symbol(&mut self, codes: &Codes) -> Result<u8, Damage> {
        if self.count < 16 {
            self.fill();
        }
        let next = if self.count < 16 {
            // What is missing is padded with ones, with which no code begins.
            let missing = 16 - self.count;
            self.buffer << missing | ((1 << missing) - 1)
        } else {
            self.buffer >> (self.count - 16)
        };
        let found = codes.find(next as u16);
        let (length, value) =
            found.map_err(|damage| if self.count < 16 { Damage::Cut } else { damage })?;
        self.count = self.count.checked_sub(length).ok_or(Damage::Cut)?;
        Ok(value)
    }

    /// Goes on behind the next restart mark.
    fn restart(&mut self) -> Result<(), Damage> {
        let rest = self.data.get(self.at..).unwrap_or_default();
        let mark = rest
            .windows(2)
            .position(|pair| pair[0] == 0xff && (0xd0..=0xd7).contains(&pair[1]))
            .ok_or(Damage::Cut)?;
        self.at += mark + 2;
        self.count = 0;
        Ok(())
    }
}

/// What a scan codes.
#[derive(Clone, Copy)]
struct Band {
    /// `Ss` and `Se`.
    first: usize,
    last: usize,
    /// Whether it adds a bit to what earlier scans have sent.
    refines: bool,
}

/// Counts what the scans of one picture hold.
#[derive(Debug)]
pub(super) struct Tally {
    width: usize,
    height: usize,
    progressive: bool,
    components: Vec<Component>,
    /// Tables for the coefficient 0, then for the others.
    codes: [[Option<Codes>; 4]; 2],
    /// Units between two restart marks; 0 if there are none.
    restart: usize,
    /// Of each component, and each of its blocks, the coefficients that are not 0.
    nonzero: Vec<Vec<u64>>,
    /// Of each component and coefficient, the lowest bit that has come.
    lowest: Vec<[Option<u8>; 64]>,
    scans: usize,
}

impl Tally {
    pub(super) fn new(
        width: usize,
        height: usize,
        progressive: bool,
        components: Vec<Component>,
    ) -> Self {
        Self {
            width,
            height,
            progressive,
            nonzero: vec![Vec::new(); components.len()],
            lowest: vec![[None; 64]; components.len()],
            components,
            codes: Default::default(),
            restart: 0,
            scans: 0,
        }
    }

    /// Takes a restart interval (`DRI`).
    pub(super) fn set_restart(&mut self, body: &[u8]) {
        if let [high, low, ..] = *body {
            self.restart = usize::from(u16::from_be_bytes([high, low]));
        }
    }

    /// Takes tables of Huffman codes (`DHT`).
    pub(super) fn set_codes(&mut self, mut body: &[u8]) -> Result<(), Damage> {
        while let Some((&[which, ref counts @ ..], rest)) = body.split_first_chunk::<17>() {
            let total = counts.iter().map(|&count| usize::from(count)).sum();
            let (values, rest) = rest.split_at_checked(total).ok_or(Damage::Header)?;
            let place = self
                .codes
                .get_mut(usize::from(which >> 4))
                .and_then(|class| class.get_mut(usize::from(which & 15)))
                .ok_or(Damage::Header)?;
            *place = Some(Codes::new(*counts, values));
            body = rest;
        }
        Ok(())
    }

    /// Reads a scan: its header (`SOS`) and its data, in which restart marks stand.
    pub(super) fn scan(&mut self, header: &[u8], data: &[u8]) -> Result<(), Damage> {
        self.scans += 1;
        if self.scans > MOST_SCANS {
            return Err(Damage::Header);
        }
        let (&count, header) = header.split_first().ok_or(Damage::Header)?;
        let (list, rest) = header
            .split_at_checked(2 * usize::from(count))
            .ok_or(Damage::Header)?;
        let &[first, last, bits, ..] = rest else {
            return Err(Damage::Header);
        };
        let mut parts = Vec::new();
        for &[id, tables] in list.as_chunks::<2>().0 {
            let which = self
                .components
                .iter()
                .position(|component| component.id == id);
            parts.push((which.ok_or(Damage::Header)?, tables));
        }
        let band = if self.progressive {
            Band {
                first: first.into(),
                last: last.into(),
                refines: bits >> 4 > 0,
            }
        } else {
            Band {
                first: 0,
                last: 63,
                refines: false,
            }
        };
        let is_valid = band.first <= band.last
            && band.last < 64
            && (1..=4).contains(&parts.len())
            && (!self.progressive || (band.first == 0) == (band.last == 0))
            && (band.last == 0 || !self.progressive || parts.len() == 1);
        if !is_valid {
            return Err(Damage::Header);
        }
        self.read(&parts, band, data)?;
        let lowest = if self.progressive { bits & 15 } else { 0 };
        for (which, _) in parts {
            self.lowest[which][band.first..=band.last].fill(Some(lowest));
        }
        Ok(())
    }

    fn read(&mut self, parts: &[(usize, u8)], band: Band, data: &[u8]) -> Result<(), Damage> {
        let Self {
            codes, components, ..
        } = self;
        let most = |side: fn(&Component) -> usize| components.iter().map(side).max().unwrap_or(1);
        let most = (most(|it| it.horizontal), most(|it| it.vertical));
        let unit = (8 * most.0, 8 * most.1);
        // Blocks of each component in a unit of the scan, and the number of units.
        let (blocks, units) = if let [(which, _)] = parts {
            let component = &components[*which];
            let across = (self.width * component.horizontal).div_ceil(unit.0);
            let down = (self.height * component.vertical).div_ceil(unit.1);
            (vec![1], across * down)
        } else {
            let blocks = parts.iter().map(|(which, _)| {
                let component = &components[*which];
                component.horizontal * component.vertical
            });
            let units = self.width.div_ceil(unit.0) * self.height.div_ceil(unit.1);
            (blocks.collect(), units)
        };
        if self.progressive && band.last > 0 {
            self.nonzero[parts[0].0].resize(units, 0);
        }
        // In a table that did not come there is no code.
        let none = Codes::new([0; 16], &[]);
        let table = |class: usize, which: u8| {
            let table = codes[class].get(usize::from(which));
            table.and_then(Option::as_ref).unwrap_or(&none)
        };
        let tables: Vec<_> = parts
            .iter()
            .map(|(_, which)| (table(0, which >> 4), table(1, which & 15)))
            .collect();
        let mut bits = Bits::new(data);
        let mut run = 0;
        for at in 0..units {
            if self.restart > 0 && at > 0 && at % self.restart == 0 {
                bits.restart()?;
                run = 0;
            }
            for (&(dc, ac), &blocks) in tables.iter().zip(&blocks) {
                for _ in 0..blocks {
                    match (self.progressive, band.first, band.refines) {
                        (false, ..) => sequential(&mut bits, dc, ac)?,
                        (true, 0, false) => {
                            let size = bits.symbol(dc)?;
                            bits.bits(size.min(16))?;
                        }
                        (true, 0, true) => {
                            bits.bits(1)?;
                        }
                        (true, _, false) => {
                            let seen = &mut self.nonzero[parts[0].0][at];
                            first_pass(&mut bits, ac, band, &mut run, seen)?;
                        }
                        (true, _, true) => {
                            let seen = &mut self.nonzero[parts[0].0][at];
                            refinement(&mut bits, ac, band, &mut run, seen)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether all was there. Without an end mark (`ended`), a progressive picture must have come to
    /// its last bit: it may have been cut between two scans.
    pub(super) fn finish(&self, ended: bool) -> Result<(), Damage> {
        let is_whole = self
            .lowest
            .iter()
            .all(|lowest| match (self.progressive, ended) {
                (true, false) => lowest.iter().all(|bit| *bit == Some(0)),
                _ => lowest[0].is_some(),
            });
        if is_whole { Ok(()) } else { Err(Damage::Cut) }
    }
}

/// A block of a sequential picture.
fn sequential(bits: &mut Bits<'_>, dc: &Codes, ac: &Codes) -> Result<(), Damage> {
    let size = bits.symbol(dc)?;
    bits.bits(size.min(16))?;
    let mut at = 1;
    while at < 64 {
        let symbol = bits.symbol(ac)?;
        let (zeros, size) = (symbol >> 4, symbol & 15);
        if size == 0 && zeros < 15 {
            break;
        }
        bits.bits(size)?;
        at += usize::from(zeros) + 1;
    }
    Ok(())
}

/// The first bits of a block's coefficients in a progressive picture.
fn first_pass(
    bits: &mut Bits<'_>,
    codes: &Codes,
    band: Band,
    run: &mut u32,
    nonzero: &mut u64,
) -> Result<(), Damage> {
    if *run > 0 {
        *run -= 1;
        return Ok(());
    }
    let mut at = band.first;
    while at <= band.last {
        let symbol = bits.symbol(codes)?;
        let (zeros, size) = (symbol >> 4, symbol & 15);
        if size == 0 && zeros < 15 {
            // The blocks that end here, this one among them.
            *run = (1 << zeros) + bits.bits(zeros)? - 1;
            break;
        }
        at += usize::from(zeros);
        if size > 0 && at < 64 {
            *nonzero |= 1 << at;
            bits.bits(size)?;
        }
        at += 1;
    }
    Ok(())
}

/// One more bit of a block's coefficients.
fn refinement(
    bits: &mut Bits<'_>,
    codes: &Codes,
    band: Band,
    run: &mut u32,
    nonzero: &mut u64,
) -> Result<(), Damage> {
    let mut at = band.first;
    if *run == 0 {
        while at <= band.last {
            let symbol = bits.symbol(codes)?;
            let (mut zeros, size) = (symbol >> 4, symbol & 15);
            if size == 0 && zeros < 15 {
                *run = (1 << zeros) + bits.bits(zeros)?;
                break;
            }
            if size > 0 {
                bits.bits(1)?; // its sign
            }
            while at <= band.last {
                if *nonzero >> at & 1 == 1 {
                    bits.bits(1)?;
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                at += 1;
            }
            if size > 0 && at <= band.last {
                *nonzero |= 1 << at;
            }
            at += 1;
        }
    }
    if *run > 0 {
        while at <= band.last {
            if *nonzero >> at & 1 == 1 {
                bits.bits(1)?;
            }
            at += 1;
        }
        *run -= 1;
    }
    Ok(())
}
