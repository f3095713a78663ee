//! The tile for processors with AVX2, whose 16 registers of 8 lanes hold a part of it at a time: some rows by half the
//! columns, or up to three rows by all of them. A lane sums in the same order whichever part it is in.

use std::arch::x86_64::{
    __m256, _MM_HINT_T0, _mm_prefetch, _mm256_add_ps, _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_setzero_ps, _mm256_storeu_ps,
};

use super::{LeftSide, Onto, SCORE_CHUNK, TILE_COLS, TILE_ROWS, Tile};

/// Lanes of a register.
const LANES: usize = 8;
/// Registers that a row of the tile fills.
const REGISTERS: usize = TILE_COLS / LANES;
/// Most rows at a time: with two registers each, 12 sum, two hold the panel's columns and one the left side's value.
const ROWS_AT_ONCE: usize = 6;

/// # Safety
/// See [`super::multiply`].
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn multiply(tile: &Tile) {
    match tile.side {
        // SAFETY: the caller's.
        LeftSide::RowBlock => unsafe { by_rows::<TILE_ROWS, 1>(tile) },
        // SAFETY: as above.
        LeftSide::Scores => unsafe { by_rows::<1, SCORE_CHUNK>(tile) },
    }
}

/// Divides the rows evenly: a part of one or two would wait for its own sums.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn by_rows<const STEP: usize, const ROW: usize>(tile: &Tile) {
    let mut row = 0;
    for parts in (1..=tile.rows.div_ceil(ROWS_AT_ONCE)).rev() {
        let rows = (tile.rows - row).div_ceil(parts);
        // SAFETY: the caller's, and `row + rows` is at most the tile's rows.
        unsafe {
            match rows {
                1 => part::<1, 4, STEP, ROW>(tile, row),
                2 => part::<2, 4, STEP, ROW>(tile, row),
                3 => part::<3, 4, STEP, ROW>(tile, row),
                4 => part::<4, 2, STEP, ROW>(tile, row),
                5 => part::<5, 2, STEP, ROW>(tile, row),
                6 => part::<6, 2, STEP, ROW>(tile, row),
                _ => unreachable!("a tile has 1 to 14 rows, and a part at most 6"),
            }
        }
        row += rows;
    }
}

/// Some rows of the tile, `WIDE` registers of columns at a time.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn part<const ROWS: usize, const WIDE: usize, const STEP: usize, const ROW: usize>(tile: &Tile, row: usize) {
    for first in (0..REGISTERS).step_by(WIDE) {
        // SAFETY: `ROWS` rows of 32 columns are readable and writable from `row` on.
        let place = |r: usize, w: usize| unsafe { tile.c.add((row + r) * tile.c_stride + (first + w) * LANES) };
        let mut acc: [[__m256; WIDE]; ROWS] = [[_mm256_setzero_ps(); WIDE]; ROWS];
        if tile.onto == Onto::Running {
            for (r, sums) in acc.iter_mut().enumerate() {
                for (w, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: as above.
                    *sum = unsafe { _mm256_loadu_ps(place(r, w)) };
                }
            }
        }
        // Past the last step these may lie outside of what they point into, where nothing is read.
        let mut left = tile.left.wrapping_add(row * ROW);
        let mut panel = tile.panel.wrapping_add(first * LANES);
        // SAFETY: the caller vouches for `depth` steps of both sides.
        unsafe {
            let mut next = tile.next.wrapping_add(first * LANES);
            for _ in 0..tile.depth {
                if row == 0 {
                    // A line of the cache is two registers.
                    for line in 0..WIDE / 2 {
                        _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(line * 2 * LANES).cast());
                    }
                    next = next.wrapping_add(TILE_COLS);
                }
                let b: [__m256; WIDE] = std::array::from_fn(|w| _mm256_loadu_ps(panel.add(w * LANES)));
                for (r, sums) in acc.iter_mut().enumerate() {
                    let a = _mm256_broadcast_ss(&*left.add(r * ROW));
                    for (sum, b) in sums.iter_mut().zip(b) {
                        *sum = _mm256_fmadd_ps(a, b, *sum);
                    }
                }
                left = left.wrapping_add(STEP);
                panel = panel.wrapping_add(TILE_COLS);
            }
        }
        for (r, sums) in acc.iter().enumerate() {
            for (w, sum) in sums.iter().enumerate() {
                // SAFETY: as above.
                unsafe {
                    let c = place(r, w);
                    let sum = if tile.onto == Onto::Sum { _mm256_add_ps(_mm256_loadu_ps(c), *sum) } else { *sum };
                    _mm256_storeu_ps(c, sum);
                }
            }
        }
    }
}
