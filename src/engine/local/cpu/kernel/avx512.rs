//! The tile for processors with AVX-512: all of its rows in registers at once.

use std::arch::x86_64::{
    __m512, _MM_HINT_T0, _mm_prefetch, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::{LeftSide, Onto, SCORE_CHUNK, TILE_COLS, TILE_ROWS, Tile};

/// # Safety
/// See [`super::multiply`].
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn multiply(tile: &Tile) {
    macro_rules! by_rows {
        ($step:expr, $row:expr, $($n:literal)*) => {
            match tile.rows {
                // SAFETY: the caller's, and the match fixes the number of rows.
                $($n => unsafe { tile_of::<$n, { $step }, { $row }>(tile) },)*
                _ => unreachable!("a tile has 1 to 14 rows"),
            }
        };
    }
    match tile.side {
        LeftSide::RowBlock => by_rows!(TILE_ROWS, 1, 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        LeftSide::Scores => by_rows!(1, SCORE_CHUNK, 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn tile_of<const ROWS: usize, const STEP: usize, const ROW: usize>(tile: &Tile) {
    let mut acc: [[__m512; 2]; ROWS] = [[_mm512_setzero_ps(); 2]; ROWS];
    if tile.onto == Onto::Running {
        for (r, sums) in acc.iter_mut().enumerate() {
            // SAFETY: `ROWS` rows of 32 columns are readable.
            *sums = unsafe {
                let c = tile.c.add(r * tile.c_stride);
                [_mm512_loadu_ps(c), _mm512_loadu_ps(c.add(16))]
            };
        }
    }
    let (mut left, mut panel, mut next) = (tile.left, tile.panel, tile.next);
    for _ in 0..tile.depth {
        // SAFETY: the caller vouches for `depth` steps of both sides.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(next.cast());
            _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(16).cast());
            let b0 = _mm512_loadu_ps(panel);
            let b1 = _mm512_loadu_ps(panel.add(16));
            for (r, sums) in acc.iter_mut().enumerate() {
                let a = _mm512_set1_ps(*left.add(r * ROW));
                sums[0] = _mm512_fmadd_ps(a, b0, sums[0]);
                sums[1] = _mm512_fmadd_ps(a, b1, sums[1]);
            }
            left = left.wrapping_add(STEP);
            panel = panel.wrapping_add(TILE_COLS);
            next = next.wrapping_add(TILE_COLS);
        }
    }
    for (r, sums) in acc.iter().enumerate() {
        // SAFETY: `ROWS` rows of 32 columns are writable.
        unsafe {
            let c = tile.c.add(r * tile.c_stride);
            if tile.onto == Onto::Sum {
                _mm512_storeu_ps(c, _mm512_add_ps(_mm512_loadu_ps(c), sums[0]));
                _mm512_storeu_ps(c.add(16), _mm512_add_ps(_mm512_loadu_ps(c.add(16)), sums[1]));
            } else {
                _mm512_storeu_ps(c, sums[0]);
                _mm512_storeu_ps(c.add(16), sums[1]);
            }
        }
    }
}
