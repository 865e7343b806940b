//! Operators that only move numbers: the same for what is known and for what depends on the text.

use super::attributes::Attributes;
use super::tensor::{Tensor, product, wrapped};

/// One step of moving numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Move {
    /// The same numbers in this shape.
    Shape(Vec<usize>),
    /// Dimension `order[i]` becomes dimension i.
    Order(Vec<usize>),
    /// What stands at these places of one dimension.
    Pick { axis: usize, places: Vec<usize> },
}

impl Move {
    pub(super) fn apply(&self, tensor: &Tensor) -> Result<Tensor, String> {
        match self {
            Self::Shape(sizes) => tensor.shaped(sizes.clone()),
            Self::Order(order) => tensor.transposed(order),
            Self::Pick { axis, places } => tensor.picked(*axis, places),
        }
    }

    /// The shape of the result; `apply` may still refuse.
    pub(super) fn sizes(&self, sizes: &[usize]) -> Result<Vec<usize>, String> {
        match self {
            Self::Shape(wanted) => {
                if product(wanted).is_none() || product(wanted) != product(sizes) {
                    return Err(format!("the shape {sizes:?} cannot become {wanted:?}"));
                }
                Ok(wanted.clone())
            }
            Self::Order(order) => {
                let is_whole = order.len() == sizes.len() && (0..sizes.len()).all(|axis| order.contains(&axis));
                let found: Option<_> = order.iter().map(|&axis| sizes.get(axis).copied()).collect();
                found.filter(|_| is_whole).ok_or_else(|| format!("{order:?} does not order {sizes:?}"))
            }
            Self::Pick { axis, places } => {
                let mut found = sizes.to_vec();
                let size = found.get_mut(*axis).ok_or("there is no such axis")?;
                if places.iter().any(|place| place >= size) {
                    return Err(format!("it reads outside the {size} places of axis {axis}"));
                }
                *size = places.len();
                Ok(found)
            }
        }
    }
}

/// The steps that a node makes on its first input, of this shape; `None` where it does something else. The other inputs are
/// known.
pub(super) fn moves(
    node: &Attributes<'_>,
    sizes: &[usize],
    others: &[Option<&Tensor>],
) -> Result<Option<Vec<Move>>, String> {
    let other = |place: usize| others.get(place).copied().flatten();
    let rank = sizes.len();
    let moves = match node.op() {
        "Identity" | "Dropout" => Vec::new(),
        "Reshape" => vec![Move::Shape(reshaped(sizes, &wanted(other(0))?, node.int("allowzero", 0) != 0)?)],
        "Flatten" => {
            let axis = node.int("axis", 1);
            let axis = if axis == i64::try_from(rank).unwrap_or(0) { rank } else { wrapped(axis, rank)? };
            vec![Move::Shape(vec![sizes.iter().take(axis).product(), sizes.iter().skip(axis).product()])]
        }
        "Transpose" => {
            let reversed = (0..rank).rev().collect();
            let order = node.ints("perm").map(|order| order.iter().map(|&axis| wrapped(axis, rank)).collect());
            vec![Move::Order(order.unwrap_or(Ok(reversed))?)]
        }
        "Unsqueeze" => {
            let axes = axes(node, other(0))?.ok_or("it does not say which axes")?;
            let axes: Vec<usize> =
                axes.iter().map(|&axis| wrapped(axis, rank + axes.len())).collect::<Result<_, _>>()?;
            let mut rest = sizes.iter().copied();
            let total = rank + axes.len();
            let sizes = (0..total).map(|axis| if axes.contains(&axis) { Some(1) } else { rest.next() });
            vec![Move::Shape(sizes.map(|size| size.unwrap_or(1)).collect())]
        }
        "Squeeze" => {
            let axes = axes(node, other(0))?;
            let axes: Option<Vec<usize>> =
                axes.map(|axes| axes.iter().map(|&axis| wrapped(axis, rank)).collect()).transpose()?;
            let is_dropped = |&(axis, &size): &(usize, &usize)| match &axes {
                Some(axes) => axes.contains(&axis),
                None => size == 1,
            };
            let kept = sizes.iter().enumerate().filter(|place| !is_dropped(place));
            vec![Move::Shape(kept.map(|(_, &size)| size).collect())]
        }
        "Gather" => {
            let Some(indices) = other(0) else { return Ok(None) };
            let axis = wrapped(node.int("axis", 0), rank)?;
            let length = sizes.get(axis).copied().unwrap_or(0);
            let places: Vec<usize> =
                indices.to_integers()?.iter().map(|&place| wrapped(place, length)).collect::<Result<_, _>>()?;
            let mut found: Vec<usize> = sizes.iter().take(axis).copied().collect();
            found.extend(&indices.sizes);
            found.extend(sizes.iter().skip(axis + 1));
            vec![Move::Pick { axis, places }, Move::Shape(found)]
        }
        "Slice" => slices(sizes, others)?,
        _ => return Ok(None),
    };
    Ok(Some(moves))
}

fn wanted(tensor: Option<&Tensor>) -> Result<std::rc::Rc<[i64]>, String> {
    tensor.ok_or("an input is missing")?.to_integers()
}

/// Axes as an input, or, up to version 12 of the operators (17 for reductions), as an attribute.
pub(super) fn axes(node: &Attributes<'_>, input: Option<&Tensor>) -> Result<Option<Vec<i64>>, String> {
    match input {
        Some(axes) => Ok(Some(axes.to_integers()?.to_vec())),
        None => Ok(node.ints("axes").map(<[i64]>::to_vec)),
    }
}

fn reshaped(sizes: &[usize], wanted: &[i64], zero_is_a_size: bool) -> Result<Vec<usize>, String> {
    let refused = || format!("the shape {sizes:?} cannot become {wanted:?}");
    let mut found = Vec::new();
    for (place, &size) in wanted.iter().enumerate() {
        found.push(match size {
            0 if !zero_is_a_size => sizes.get(place).copied(),
            -1 => None,
            size => Some(usize::try_from(size).map_err(|_| refused())?),
        });
    }
    let given = found.iter().flatten().try_fold(1_usize, |product, &size| product.checked_mul(size));
    let given = given.ok_or_else(refused)?;
    let open = sizes.iter().product::<usize>().checked_div(given);
    let is_open = |place: usize| wanted.get(place) == Some(&-1);
    let sizes = found.iter().enumerate().map(|(place, size)| if is_open(place) { open } else { *size });
    sizes.collect::<Option<_>>().ok_or_else(refused)
}

fn slices(sizes: &[usize], others: &[Option<&Tensor>]) -> Result<Vec<Move>, String> {
    let list = |place: usize| others.get(place).copied().flatten().map(Tensor::to_integers).transpose();
    let (starts, ends) = (list(0)?.ok_or("its starts are missing")?, list(1)?.ok_or("its ends are missing")?);
    let (axes, steps) = (list(2)?, list(3)?);
    let mut moves = Vec::new();
    for (place, (&start, &end)) in starts.iter().zip(ends.iter()).enumerate() {
        let listed = |list: &Option<std::rc::Rc<[i64]>>, default: i64| match list {
            Some(list) => list.get(place).copied().ok_or("its lists are not of one length"),
            None => Ok(default),
        };
        let axis = wrapped(listed(&axes, i64::try_from(place).unwrap_or(i64::MAX))?, sizes.len())?;
        let step = listed(&steps, 1)?;
        let length = i64::try_from(sizes.get(axis).copied().unwrap_or(0)).unwrap_or(i64::MAX);
        let from_end = |place: i64| if place < 0 { place.saturating_add(length) } else { place };
        let places: Vec<i64> = match step {
            1.. => {
                let (start, end) = (from_end(start).clamp(0, length), from_end(end).clamp(0, length));
                let step = usize::try_from(step).unwrap_or(usize::MAX);
                (start..end).step_by(step).collect()
            }
            ..=-1 => {
                let (start, end) = (from_end(start).clamp(-1, length - 1), from_end(end).clamp(-1, length - 1));
                let step = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
                (end + 1..=start).rev().step_by(step).collect()
            }
            0 => return Err("it has a step of 0".into()),
        };
        let places: Vec<usize> = places.into_iter().filter_map(|place| usize::try_from(place).ok()).collect();
        moves.push(Move::Pick { axis, places });
    }
    Ok(moves)
}
