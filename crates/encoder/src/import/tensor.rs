//! Values that are known before any text is: weights, and the arithmetic of shapes and masks.

use std::rc::Rc;

use crate::math::from_half;
use crate::onnx::{self, BOOL, DOUBLE, FLOAT, FLOAT16, INT8, INT32, INT64, UINT8};

/// Numbers that a computed tensor may have at most.
const NUMBERS_MAX: usize = 1 << 27;
/// Dimensions of a tensor.
const RANK_MAX: usize = 8;

/// Numbers in the order of their last dimension. All float types are float32 here, all integers and booleans int64.
#[derive(Debug, Clone)]
pub(super) enum Numbers {
    Floats(Rc<[f32]>),
    Integers(Rc<[i64]>),
    /// Stored as int8, such as quantised weights.
    Bytes(Rc<[i8]>),
}

/// What int8 weights are in float32: steps, each times its column's scale.
#[derive(Debug, Clone)]
pub(super) struct Steps {
    pub(super) steps: Rc<[i8]>,
    /// `None` before the multiplication.
    pub(super) scales: Option<Rc<[f32]>>,
}

#[derive(Debug, Clone)]
pub(super) struct Tensor {
    pub(super) sizes: Vec<usize>,
    pub(super) numbers: Numbers,
    /// Where the floats come from, when they were int8.
    pub(super) steps: Option<Steps>,
}

/// How many numbers a tensor of this shape holds; `None` where any product of its sizes is beyond all memory.
pub(super) fn product(sizes: &[usize]) -> Option<usize> {
    let product = sizes.iter().try_fold(1_usize, |product, &size| product.checked_mul(size.max(1)));
    product.filter(|_| sizes.len() <= RANK_MAX).map(|product| if sizes.contains(&0) { 0 } else { product })
}

/// The same where a tensor of that many numbers may be computed.
pub(super) fn count(sizes: &[usize]) -> Result<usize, String> {
    match product(sizes) {
        Some(count) if count <= NUMBERS_MAX => Ok(count),
        _ => Err(format!("a tensor of the shape {sizes:?} is too large")),
    }
}

/// How far apart neighbours of each dimension lie.
fn strides(sizes: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; sizes.len()];
    let mut stride = 1;
    for (place, size) in strides.iter_mut().zip(sizes).rev() {
        *place = stride;
        stride *= size;
    }
    strides
}

/// The shape that both shapes are repeated to.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let size = |sizes: &[usize], place: usize| {
        (place + sizes.len()).checked_sub(rank).and_then(|place| sizes.get(place)).copied().unwrap_or(1)
    };
    let pairs = (0..rank).map(|place| (size(a, place), size(b, place)));
    pairs
        .map(|pair| match pair {
            (1, size) | (size, 1) => Ok(size),
            (a, b) if a == b => Ok(a),
            _ => Err(format!("the shapes {a:?} and {b:?} do not fit")),
        })
        .collect()
}

/// A place of a list that may be counted from its end.
pub(super) fn wrapped(place: i64, length: usize) -> Result<usize, String> {
    let length_as_integer = i64::try_from(length).unwrap_or(i64::MAX);
    let place = if place < 0 { place.saturating_add(length_as_integer) } else { place };
    let found = usize::try_from(place).ok().filter(|&place| place < length);
    found.ok_or_else(|| format!("there is no place {place} among {length}"))
}

impl Tensor {
    pub(super) fn floats(sizes: Vec<usize>, floats: Vec<f32>) -> Self {
        Self { sizes, numbers: Numbers::Floats(floats.into()), steps: None }
    }

    pub(super) fn integers(sizes: Vec<usize>, integers: Vec<i64>) -> Self {
        Self { sizes, numbers: Numbers::Integers(integers.into()), steps: None }
    }

    /// One number for each place of a list.
    pub(super) fn list(integers: &[usize]) -> Self {
        let found = integers.iter().map(|&integer| i64::try_from(integer).unwrap_or(i64::MAX)).collect();
        Self::integers(vec![integers.len()], found)
    }

    /// 0, 1, 2 and so on.
    pub(super) fn counted(sizes: Vec<usize>) -> Result<Self, String> {
        let end = i64::try_from(count(&sizes)?).unwrap_or(i64::MAX);
        Ok(Self::integers(sizes, (0..end).collect()))
    }

    /// One number everywhere.
    pub(super) fn filled(sizes: Vec<usize>, with: &Self) -> Result<Self, String> {
        let count = count(&sizes)?;
        Ok(match with.as_floats() {
            Some(floats) => Self::floats(sizes, vec![floats.first().copied().unwrap_or(0.0); count]),
            None => Self::integers(sizes, vec![with.to_integers()?.first().copied().unwrap_or(0); count]),
        })
    }

    /// Reads what a file stores; the numbers must be there whole.
    pub(super) fn read(tensor: &onnx::Tensor) -> Result<Self, String> {
        if tensor.location != 0 {
            return Err("its values lie in another file; export to one file, without external data".into());
        }
        let sizes: Option<Vec<usize>> = tensor.dimensions.iter().map(|&size| usize::try_from(size).ok()).collect();
        let sizes = sizes.filter(|sizes| product(sizes).is_some());
        let sizes = sizes.ok_or_else(|| format!("it has the shape {:?}", tensor.dimensions))?;
        let count = product(&sizes);
        let raw = tensor.raw.as_slice();
        let bits = |bits: &i32| u16::try_from(*bits).unwrap_or(0);
        let whole = |size: usize| raw.len().is_multiple_of(size);
        let floats = |floats: Vec<f32>| (floats.len(), Numbers::Floats(floats.into()));
        let integers = |integers: Vec<i64>| (integers.len(), Numbers::Integers(integers.into()));
        let stored = match tensor.kind {
            FLOAT if raw.is_empty() => floats(tensor.floats.clone()),
            FLOAT if whole(4) => floats(raw.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect()),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "constants of shape arithmetic, which are float32 to us"
            )]
            DOUBLE if raw.is_empty() => floats(tensor.doubles.iter().map(|&x| x as f32).collect()),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "constants of shape arithmetic, which are float32 to us"
            )]
            DOUBLE if whole(8) => floats(raw.as_chunks().0.iter().map(|&x| f64::from_le_bytes(x) as f32).collect()),
            FLOAT16 if raw.is_empty() => floats(tensor.ints.iter().map(bits).map(half).collect()),
            FLOAT16 if whole(2) => floats(raw.as_chunks().0.iter().map(|&x| half(u16::from_le_bytes(x))).collect()),
            INT64 if raw.is_empty() => integers(tensor.longs.clone()),
            INT64 if whole(8) => integers(raw.as_chunks().0.iter().map(|&x| i64::from_le_bytes(x)).collect()),
            INT32 if !raw.is_empty() && whole(4) => {
                integers(raw.as_chunks().0.iter().map(|&x| i32::from_le_bytes(x).into()).collect())
            }
            INT8 if !raw.is_empty() => {
                let bytes: Vec<i8> = raw.iter().map(|&byte| byte.cast_signed()).collect();
                (bytes.len(), Numbers::Bytes(bytes.into()))
            }
            BOOL | UINT8 if !raw.is_empty() => integers(raw.iter().map(|&byte| byte.into()).collect()),
            INT32 | INT8 | BOOL | UINT8 if raw.is_empty() => integers(tensor.ints.iter().map(|&x| x.into()).collect()),
            FLOAT | DOUBLE | FLOAT16 | INT64 | INT32 => return Err(format!("it has {} raw bytes", raw.len())),
            kind => return Err(format!("its element type, number {kind}, is not one that the importer reads")),
        };
        let (found, numbers) = stored;
        if Some(found) != count {
            return Err(format!("it holds {found} numbers for the shape {sizes:?}"));
        }
        Ok(Self { sizes, numbers, steps: None })
    }

    pub(super) fn len(&self) -> usize {
        match &self.numbers {
            Numbers::Floats(floats) => floats.len(),
            Numbers::Integers(integers) => integers.len(),
            Numbers::Bytes(bytes) => bytes.len(),
        }
    }

    pub(super) fn as_floats(&self) -> Option<&[f32]> {
        match &self.numbers {
            Numbers::Floats(floats) => Some(floats),
            _ => None,
        }
    }

    pub(super) fn to_integers(&self) -> Result<Rc<[i64]>, String> {
        match &self.numbers {
            Numbers::Integers(integers) => Ok(Rc::clone(integers)),
            Numbers::Bytes(bytes) => Ok(bytes.iter().map(|&byte| byte.into()).collect()),
            Numbers::Floats(_) => Err("integers are expected".into()),
        }
    }

    /// The numbers as sizes, none below 0.
    pub(super) fn to_sizes(&self) -> Result<Vec<usize>, String> {
        let integers = self.to_integers()?;
        let sizes: Option<Vec<usize>> = integers.iter().map(|&integer| usize::try_from(integer).ok()).collect();
        sizes.ok_or_else(|| format!("{integers:?} is no shape"))
    }

    #[expect(clippy::cast_precision_loss, reason = "integers of shapes and masks are small")]
    pub(super) fn to_floats(&self) -> Rc<[f32]> {
        match &self.numbers {
            Numbers::Floats(floats) => Rc::clone(floats),
            Numbers::Integers(integers) => integers.iter().map(|&integer| integer as f32).collect(),
            Numbers::Bytes(bytes) => bytes.iter().map(|&byte| byte.into()).collect(),
        }
    }

    /// The number that stands everywhere.
    pub(super) fn uniform(&self) -> Option<f32> {
        let Numbers::Floats(floats) = &self.numbers else {
            return (self.len() == 1).then(|| self.to_floats().first().copied()).flatten();
        };
        let &first = floats.first()?;
        #[expect(clippy::float_cmp, reason = "the same number everywhere")]
        floats.iter().all(|&x| x == first).then_some(first)
    }

    /// Whether both hold the same.
    pub(super) fn equals(&self, other: &Self) -> bool {
        self.sizes == other.sizes
            && match (&self.numbers, &other.numbers) {
                (Numbers::Floats(a), Numbers::Floats(b)) => Rc::ptr_eq(a, b) || a == b,
                (Numbers::Integers(a), Numbers::Integers(b)) => a == b,
                (Numbers::Bytes(a), Numbers::Bytes(b)) => a == b,
                _ => false,
            }
    }

    /// The same numbers in another shape of as many.
    pub(super) fn shaped(&self, sizes: Vec<usize>) -> Result<Self, String> {
        if product(&sizes) != Some(self.len()) {
            return Err(format!("the shape {:?} cannot become {sizes:?}", self.sizes));
        }
        Ok(Self { sizes, ..self.clone() })
    }

    /// The numbers at `start` plus steps of any length, dimension by dimension.
    fn strided(&self, start: usize, sizes: Vec<usize>, steps: &[isize]) -> Result<Self, String> {
        let count = count(&sizes)?;
        let mut places = Vec::with_capacity(count);
        let mut counters = vec![0_usize; sizes.len()];
        let mut place = start;
        while places.len() < count {
            places.push(place);
            for ((counter, &size), &step) in counters.iter_mut().zip(&sizes).zip(steps).rev() {
                *counter += 1;
                place = place.wrapping_add_signed(step);
                if *counter < size {
                    break;
                }
                place = place.wrapping_add_signed(step.wrapping_mul(size.cast_signed()).wrapping_neg());
                *counter = 0;
            }
        }
        self.at(sizes, &places)
    }

    /// The numbers at these places.
    fn at(&self, sizes: Vec<usize>, places: &[usize]) -> Result<Self, String> {
        fn at<T: Copy>(from: &[T], places: &[usize]) -> Option<Rc<[T]>> {
            places.iter().map(|&place| from.get(place).copied()).collect()
        }
        let numbers = match &self.numbers {
            Numbers::Floats(floats) => at(floats, places).map(Numbers::Floats),
            Numbers::Integers(integers) => at(integers, places).map(Numbers::Integers),
            Numbers::Bytes(bytes) => at(bytes, places).map(Numbers::Bytes),
        };
        Ok(Self { sizes, numbers: numbers.ok_or("it reads outside a tensor")?, steps: None })
    }

    /// Dimension `order[i]` becomes dimension i.
    pub(super) fn transposed(&self, order: &[usize]) -> Result<Self, String> {
        let strides = strides(&self.sizes);
        let axes: Option<Vec<(usize, isize)>> =
            order.iter().map(|&axis| Some((*self.sizes.get(axis)?, strides.get(axis)?.cast_signed()))).collect();
        let is_whole = (0..self.sizes.len()).all(|axis| order.contains(&axis)) && order.len() == self.sizes.len();
        let axes = axes.filter(|_| is_whole).ok_or_else(|| format!("{order:?} does not order {:?}", self.sizes))?;
        let (sizes, steps): (Vec<_>, Vec<_>) = axes.into_iter().unzip();
        self.strided(0, sizes, &steps)
    }

    /// Repeated to a shape that its own fits.
    pub(super) fn spread(&self, sizes: &[usize]) -> Result<Self, String> {
        if self.sizes == sizes {
            return Ok(self.clone());
        }
        let added = sizes.len().checked_sub(self.sizes.len());
        let added = added.ok_or_else(|| format!("the shape {:?} cannot become {sizes:?}", self.sizes))?;
        let own = strides(&self.sizes);
        let mut steps = vec![0_isize; sizes.len()];
        let places = steps.iter_mut().zip(sizes).skip(added).zip(self.sizes.iter().zip(own));
        for ((step, &wanted), (&size, stride)) in places {
            if size == wanted {
                *step = stride.cast_signed();
            } else if size != 1 {
                return Err(format!("the shape {:?} cannot become {sizes:?}", self.sizes));
            }
        }
        self.strided(0, sizes.to_vec(), &steps)
    }

    /// What stands at these places of one dimension.
    pub(super) fn picked(&self, axis: usize, places: &[usize]) -> Result<Self, String> {
        let size = *self.sizes.get(axis).ok_or("there is no such axis")?;
        let inner: usize = self.sizes.iter().skip(axis + 1).product();
        let outer: usize = self.sizes.iter().take(axis).product();
        let mut sizes = self.sizes.clone();
        if let Some(size) = sizes.get_mut(axis) {
            *size = places.len();
        }
        if places.iter().any(|&place| place >= size) {
            return Err(format!("it reads outside the {size} places of axis {axis}"));
        }
        let count = count(&sizes)?;
        let mut found = Vec::with_capacity(count);
        for outer in 0..if count == 0 { 0 } else { outer } {
            for &place in places {
                let start = (outer * size + place) * inner;
                found.extend(start..start + inner);
            }
        }
        self.at(sizes, &found)
    }

    /// Tensors one behind the other.
    pub(super) fn joined(parts: &[&Self], axis: usize) -> Result<Self, String> {
        let [first, ..] = parts else { return Err("there is nothing to join".into()) };
        let mut sizes = first.sizes.clone();
        let total = parts.iter().try_fold(0_usize, |total, part| total.checked_add(part.sizes.get(axis).copied()?));
        let total = total.ok_or("there is no such axis")?;
        *sizes.get_mut(axis).ok_or("there is no such axis")? = total;
        let fits = |part: &Self| {
            part.sizes.len() == sizes.len()
                && (0..sizes.len()).all(|place| place == axis || part.sizes.get(place) == sizes.get(place))
        };
        if !parts.iter().all(|part| fits(part)) {
            return Err("tensors of different shapes cannot be joined".into());
        }
        let outer: usize = if count(&sizes)? == 0 { 0 } else { sizes.iter().take(axis).product() };
        if parts.iter().any(|part| part.as_floats().is_some()) {
            let parts: Vec<Rc<[f32]>> = parts.iter().map(|part| part.to_floats()).collect();
            return Ok(Self::floats(sizes, join(&parts, outer)));
        }
        let parts: Vec<Rc<[i64]>> = parts.iter().map(|part| part.to_integers()).collect::<Result<_, _>>()?;
        Ok(Self::integers(sizes, join(&parts, outer)))
    }
}

/// Equal parts of each list in turn, so many of each.
fn join<T: Copy>(parts: &[Rc<[T]>], outer: usize) -> Vec<T> {
    let chunk = |part: &Rc<[T]>, place: usize| {
        let length = part.len() / outer.max(1);
        (place * length, length)
    };
    let places = (0..outer).flat_map(|place| parts.iter().map(move |part| (part, chunk(part, place))));
    places.flat_map(|(part, (start, length))| part.iter().skip(start).take(length).copied()).collect()
}

/// A float16 as float32; infinities and what is no number stay such.
fn half(bits: u16) -> f32 {
    match bits & 0x7fff {
        0x7c00 => f32::INFINITY.copysign(if bits & 0x8000 == 0 { 1.0 } else { -1.0 }),
        0x7c01.. => f32::NAN,
        _ => from_half(bits),
    }
}

/// The nearest float16, ties to even; `None` where it would be infinite or is no number.
pub(super) fn to_half(x: f32) -> Option<u16> {
    // Values from here on round up to 65536, which float16 lacks.
    if x.is_nan() || x.abs() >= 65520.0 {
        return None;
    }
    let sign = u16::try_from(x.to_bits() >> 16 & 0x8000).ok()?;
    let bits = x.to_bits() & 0x7fff_ffff;
    if x.abs() < 6.103_515_6e-5 {
        // Steps of 2⁻²⁴: adding 2⁻¹ leaves them, rounded, in the low bits.
        let steps = (x.abs() + 0.5).to_bits() - 0.5_f32.to_bits();
        return Some(sign | u16::try_from(steps).ok()?);
    }
    let rounded = bits + 0xfff + (bits >> 13 & 1);
    Some(sign | u16::try_from((rounded - (112 << 23)) >> 13).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_through_float32() {
        for bits in 0..=u16::MAX {
            let expected = (bits & 0x7c00 != 0x7c00).then_some(bits);
            assert_eq!(to_half(half(bits)), expected, "{bits:x}");
        }
    }

    #[test]
    fn halves_are_rounded_to_the_nearest() {
        for (x, expected) in [
            (1.0 + 1.0 / 2048.0, Some(0x3c00)),
            (1.0 + 3.0 / 2048.0, Some(0x3c02)),
            (65519.0, Some(0x7bff)),
            (65520.0, None),
            (-1e-9, Some(0x8000)),
            (6.1e-5, Some(0x03ff)),
            (f32::NAN, None),
        ] {
            assert_eq!(to_half(x), expected, "{x}");
        }
    }

    #[test]
    fn dimensions_are_moved_as_the_operators_say() {
        let counted = Tensor::counted(vec![2, 3]).unwrap();
        let read = |tensor: Tensor| (tensor.sizes.clone(), tensor.to_integers().unwrap().to_vec());
        assert_eq!(read(counted.transposed(&[1, 0]).unwrap()), (vec![3, 2], vec![0, 3, 1, 4, 2, 5]));
        assert_eq!(read(counted.picked(1, &[2, 0]).unwrap()), (vec![2, 2], vec![2, 0, 5, 3]));
        assert_eq!(read(Tensor::list(&[7, 8]).spread(&[2, 2]).unwrap()), (vec![2, 2], vec![7, 8, 7, 8]));
        let joined = Tensor::joined(&[&counted, &counted.picked(1, &[0]).unwrap()], 1).unwrap();
        assert_eq!(read(joined), (vec![2, 4], vec![0, 1, 2, 0, 3, 4, 5, 3]));
        assert!(counted.transposed(&[0, 0]).is_err() && counted.picked(0, &[2]).is_err());
        assert!(counted.spread(&[3, 3]).is_err() && counted.shaped(vec![4]).is_err());
    }
}
