//! The inner loop of every matrix product on the CPU: a tile of at most 14 rows by 32 columns, held in registers.
//!
//! Operands come in the order in which the loop reads them. The right side is a *panel*: 32 columns, depth-major, so that
//! each step loads two full AVX-512 registers. The left side is a *row block*: 14 rows, depth-major too, or rows of a
//! constant stride. Each lane adds its products in the order of the depth, so that a logit does not depend on how many
//! rows were computed beside it; what is scored together can never change a score.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use std::sync::OnceLock;

/// Rows of a tile: with two registers a row, 28 of AVX-512's 32 registers accumulate.
pub(crate) const TILE_ROWS: usize = 14;
/// Columns of a tile.
pub(crate) const TILE_COLS: usize = 32;
/// Keys in a chunk of attention scores, the stride between the rows of a [`LeftSide::Scores`].
pub(crate) const SCORE_CHUNK: usize = 128;
/// Deepest product that is summed in one go. Shorter sums lose less to rounding than one long one: against a float64 pass
/// over SmolLM2, parts of 64 terms leave 0.6 of the error that parts of 256 do, and take 2% longer.
pub(crate) const MAX_DEPTH: usize = 64;

/// How the left side lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeftSide {
    /// `[depth][TILE_ROWS]`.
    RowBlock,
    /// `[TILE_ROWS][SCORE_CHUNK]`, the depth running along the row.
    Scores,
}

/// What a product does with what its place holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Onto {
    /// Replaces it.
    Nothing,
    /// Adds the finished sum to it.
    Sum,
    /// Goes on summing from it: products in several parts of the depth give the bits of a single one.
    Running,
}

/// One tile: `c[rows x 32] = left * panel`, put `onto` what `c` holds.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// At least `depth` steps of the layout that `side` names.
    pub(crate) left: *const f32,
    pub(crate) side: LeftSide,
    /// `depth` rows of 32 columns.
    pub(crate) panel: *const f32,
    /// The panel that will be multiplied next, to be fetched meanwhile. Only a hint: nothing is read there.
    pub(crate) next: *const f32,
    pub(crate) depth: usize,
    /// 1 to [`TILE_ROWS`].
    pub(crate) rows: usize,
    /// Row-major, `c_stride` apart, 32 columns writable.
    pub(crate) c: *mut f32,
    pub(crate) c_stride: usize,
    pub(crate) onto: Onto,
}

/// The instruction sets that a tile is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    Avx512,
    Avx2,
    Portable,
}

impl Isa {
    /// The best one of this processor, found once.
    pub(crate) fn detect() -> Self {
        static ISA: OnceLock<Isa> = OnceLock::new();
        *ISA.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            {
                let avx512 = is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq");
                if avx512 && is_x86_feature_detected!("fma") {
                    return Isa::Avx512;
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    return Isa::Avx2;
                }
            }
            Isa::Portable
        })
    }
}

/// Calls `$body` compiled for the instruction set at hand: plain Rust loops in it become wide vector code.
macro_rules! vectorised {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn portable($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,fma")]
                fn avx512($($arg: $ty),*) $(-> $ret)? { portable($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? { portable($($arg),*) }
                match $crate::engine::local::cpu::kernel::Isa::detect() {
                    // SAFETY: `detect` has seen these features on this processor.
                    $crate::engine::local::cpu::kernel::Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::engine::local::cpu::kernel::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::engine::local::cpu::kernel::Isa::Portable => {}
                }
            }
            portable($($arg),*)
        }
    };
}
pub(crate) use vectorised;

/// Multiplies one tile.
///
/// # Safety
/// The pointers of `tile` must be valid for the extents that its fields state, and `c` must not be aliased.
#[inline]
pub(crate) unsafe fn multiply(isa: Isa, tile: &Tile) {
    debug_assert!((1..=TILE_ROWS).contains(&tile.rows));
    match isa {
        // SAFETY: the caller vouches for the extents, `Isa::detect` for the instruction set.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512::multiply(tile) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2::multiply(tile) },
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx512 | Isa::Avx2 => unsafe { portable(tile) },
        // SAFETY: as above.
        Isa::Portable => unsafe { portable(tile) },
    }
}

/// Strides of the left side: between depths, and between rows.
#[inline(always)]
fn strides(side: LeftSide) -> (usize, usize) {
    match side {
        LeftSide::RowBlock => (TILE_ROWS, 1),
        LeftSide::Scores => (1, SCORE_CHUNK),
    }
}

unsafe fn portable(tile: &Tile) {
    // SAFETY: the caller's.
    unsafe { blocked::<{ cfg!(target_arch = "aarch64") }>(tile) }
}

/// Three rows at a time, for processors that we know nothing of.
#[inline(always)]
unsafe fn blocked<const FMA: bool>(tile: &Tile) {
    let (step, row_stride) = strides(tile.side);
    let mut row = 0;
    while row < tile.rows {
        let count = (tile.rows - row).min(3);
        let mut acc = [[0f32; TILE_COLS]; 3];
        if tile.onto == Onto::Running {
            for (r, sums) in acc.iter_mut().enumerate().take(count) {
                // SAFETY: the row's 32 columns are readable and writable.
                *sums = unsafe { *tile.c.add((row + r) * tile.c_stride).cast::<[f32; TILE_COLS]>() };
            }
        }
        for k in 0..tile.depth {
            // SAFETY: `k < depth` rows of 32 columns are readable.
            let b = unsafe { &*tile.panel.add(k * TILE_COLS).cast::<[f32; TILE_COLS]>() };
            for (r, sums) in acc.iter_mut().enumerate().take(count) {
                // SAFETY: `row + r < rows`.
                let a = unsafe { *tile.left.add(k * step + (row + r) * row_stride) };
                for (sum, &b) in sums.iter_mut().zip(b) {
                    *sum = if FMA { a.mul_add(b, *sum) } else { a * b + *sum };
                }
            }
        }
        for (r, sums) in acc.iter().enumerate().take(count) {
            // SAFETY: the row's 32 columns are writable.
            let c = unsafe { &mut *tile.c.add((row + r) * tile.c_stride).cast::<[f32; TILE_COLS]>() };
            for (c, &sum) in c.iter_mut().zip(sums) {
                *c = if tile.onto == Onto::Sum { *c + sum } else { sum };
            }
        }
        row += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What this processor can run.
    fn at_hand() -> Vec<Isa> {
        match Isa::detect() {
            Isa::Avx512 => vec![Isa::Avx512, Isa::Avx2, Isa::Portable],
            Isa::Avx2 => vec![Isa::Avx2, Isa::Portable],
            Isa::Portable => vec![Isa::Portable],
        }
    }

    fn numbers(len: usize, seed: u32) -> Vec<f32> {
        (0..len as u32).map(|i| ((i.wrapping_mul(2_654_435_761) ^ seed) % 2001) as f32 / 1000.0 - 1.0).collect()
    }

    #[test]
    fn every_instruction_set_multiplies_every_tile() {
        const DEPTH: usize = 37;
        const STRIDE: usize = TILE_COLS + 5;
        let (left, panel) = (numbers(TILE_ROWS * SCORE_CHUNK, 1), numbers(DEPTH * TILE_COLS, 2));
        let before = numbers(TILE_ROWS * STRIDE, 3);
        for (isa, rows) in at_hand().into_iter().flat_map(|isa| (1..=TILE_ROWS).map(move |rows| (isa, rows))) {
            for (side, onto) in [LeftSide::RowBlock, LeftSide::Scores]
                .into_iter()
                .flat_map(|side| [Onto::Nothing, Onto::Sum, Onto::Running].map(|onto| (side, onto)))
            {
                let mut c = before.clone();
                let tile = Tile {
                    left: left.as_ptr(),
                    side,
                    panel: panel.as_ptr(),
                    next: panel.as_ptr_range().end,
                    depth: DEPTH,
                    rows,
                    c: c.as_mut_ptr(),
                    c_stride: STRIDE,
                    onto,
                };
                // SAFETY: both sides hold `DEPTH` steps, and `c` the rows.
                unsafe { multiply(isa, &tile) };
                let (step, row) = strides(side);
                for (at, (found, old)) in c.iter().zip(&before).enumerate() {
                    let (r, column) = (at / STRIDE, at % STRIDE);
                    if r >= rows || column >= TILE_COLS {
                        assert_eq!(found, old, "{isa:?} {rows} rows: {at} is outside");
                        continue;
                    }
                    let product = |k| f64::from(left[k * step + r * row]) * f64::from(panel[k * TILE_COLS + column]);
                    let sum: f64 = (0..DEPTH).map(product).sum();
                    let expected = if onto == Onto::Nothing { sum } else { sum + f64::from(*old) };
                    assert!((f64::from(*found) - expected).abs() < 1e-5, "{isa:?} {rows} {side:?} {onto:?} {at}");
                }
            }
        }
    }
}
