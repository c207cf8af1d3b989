//! Arrays on the heap.

/// An array that never is on the stack, as `Box::new` may have it: the stacks of fibers are small.
pub(crate) fn boxed<T, const COUNT: usize>(value: impl FnMut(usize) -> T) -> Box<[T; COUNT]> {
    let values: Vec<T> = (0..COUNT).map(value).collect();
    values.try_into().unwrap_or_else(|_| unreachable!("there are so many values"))
}
