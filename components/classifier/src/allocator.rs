//! The allocator: the default one, which during baking also clears what is freed.
//!
//! Reading a release leaves many times its size in freed memory. The snapshot stores every byte that is not zero, so
//! clearing freed memory is what keeps the artefact near the size of what is live.
#![allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait; each method only forwards to std's allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

/// True from start until the release is sealed in.
pub(crate) static BAKING: AtomicBool = AtomicBool::new(true);

struct ClearingAllocator;

#[global_allocator]
static ALLOCATOR: ClearingAllocator = ClearingAllocator;

// SAFETY: every method forwards its arguments unchanged to `System`, which keeps the contract; `dealloc` and `realloc`
// write zeros only inside the block that the caller gives up.
unsafe impl GlobalAlloc for ClearingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe {
            if BAKING.load(Ordering::Relaxed) {
                block.write_bytes(0, layout.size());
            }
            System.dealloc(block, layout);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe {
            if !BAKING.load(Ordering::Relaxed) {
                return System.realloc(block, layout, size);
            }
            // SAFETY: `size` rounded up to `layout.align()` does not overflow, by realloc's contract.
            let moved = System.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}
