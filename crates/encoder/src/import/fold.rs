//! Operators on what is known before any text is.

use std::rc::Rc;

use super::attributes::Attributes;
use super::moves::{axes, moves};
use super::tensor::{Numbers, Steps, Tensor, broadcast, count, wrapped};
use crate::onnx::{BOOL, DOUBLE, FLOAT, FLOAT16};

/// bfloat16, which is only cast to and from.
const BFLOAT16: i32 = 16;

/// The first output of a node whose inputs are all known.
pub(super) fn compute(node: &Attributes<'_>, inputs: &[Option<&Tensor>]) -> Result<Tensor, String> {
    let input = |place: usize| inputs.get(place).copied().flatten().ok_or("an input is missing");
    if let Some(&Some(first)) = inputs.first()
        && let Some(moves) = moves(node, &first.sizes, inputs.get(1..).unwrap_or_default())?
    {
        return moves.iter().try_fold(first.clone(), |tensor, step| step.apply(&tensor));
    }
    match node.op() {
        "Constant" => constant(node),
        "Shape" => Ok(shape(node, &input(0)?.sizes)),
        "Size" => Ok(Tensor::list(&[input(0)?.len()]).shaped(Vec::new())?),
        "Cast" | "CastLike" => cast(node, inputs),
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Pow" | "Min" | "Max" => arithmetic(node, inputs),
        "Equal" | "Greater" | "Less" | "GreaterOrEqual" | "LessOrEqual" | "And" | "Or" | "Xor" => {
            compare(node.op(), input(0)?, input(1)?)
        }
        "Not" | "IsNaN" | "IsInf" | "Neg" | "Abs" | "Sqrt" | "Reciprocal" | "Floor" | "Ceil" => {
            each(node.op(), input(0)?)
        }
        "Clip" => clip(node, inputs),
        "Where" => choose(input(0)?, input(1)?, input(2)?),
        "Expand" => {
            let sizes = broadcast(&input(0)?.sizes, &input(1)?.to_sizes()?)?;
            input(0)?.spread(&sizes)
        }
        "Concat" => {
            let parts: Vec<&Tensor> = inputs.iter().copied().collect::<Option<_>>().ok_or("an input is missing")?;
            let rank = parts.first().map_or(0, |part| part.sizes.len());
            Tensor::joined(&parts, wrapped(node.int("axis", 0), rank)?)
        }
        "ConstantOfShape" => {
            let value = node.tensor("value").map(Tensor::read).transpose()?;
            let value = value.unwrap_or_else(|| Tensor::floats(vec![1], vec![0.0]));
            Tensor::filled(input(0)?.to_sizes()?, &value)
        }
        "Range" => range(input(0)?, input(1)?, input(2)?),
        "GatherElements" => gather_elements(node, input(0)?, input(1)?),
        "GatherND" => gather_nd(node, input(0)?, input(1)?),
        "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" => reduce(node, inputs),
        _ => Err("it cannot be computed before a text is known".into()),
    }
}

fn constant(node: &Attributes<'_>) -> Result<Tensor, String> {
    if let Some(tensor) = node.tensor("value") {
        return Tensor::read(tensor);
    }
    if node.has("value_float") {
        return Ok(Tensor::floats(Vec::new(), vec![node.float("value_float", 0.0)]));
    }
    if node.has("value_int") {
        return Ok(Tensor::integers(Vec::new(), vec![node.int("value_int", 0)]));
    }
    if let Some(floats) = node.floats("value_floats") {
        return Ok(Tensor::floats(vec![floats.len()], floats.to_vec()));
    }
    match node.ints("value_ints") {
        Some(integers) => Ok(Tensor::integers(vec![integers.len()], integers.to_vec())),
        None => Err("it holds nothing that the importer reads".into()),
    }
}

/// A shape, or the part of it that the node wants (since version 15).
pub(super) fn shape(node: &Attributes<'_>, sizes: &[usize]) -> Tensor {
    let rank = i64::try_from(sizes.len()).unwrap_or(i64::MAX);
    let place = |place: i64| {
        let place = if place < 0 { place.saturating_add(rank) } else { place };
        usize::try_from(place.clamp(0, rank)).unwrap_or(0)
    };
    let (start, end) = (place(node.int("start", 0)), place(node.int("end", rank)));
    Tensor::list(sizes.get(start..end.max(start)).unwrap_or_default())
}

/// Whether a type's numbers are floats here.
pub(super) fn is_float(kind: i32) -> bool {
    matches!(kind, FLOAT | FLOAT16 | DOUBLE | BFLOAT16)
}

fn cast(node: &Attributes<'_>, inputs: &[Option<&Tensor>]) -> Result<Tensor, String> {
    let tensor = inputs.first().copied().flatten().ok_or("an input is missing")?;
    let like = inputs.get(1).copied().flatten();
    let kind = i32::try_from(node.int("to", 0)).unwrap_or(0);
    let to_float = like.map_or(is_float(kind), |like| like.as_floats().is_some());
    if to_float {
        let steps = match &tensor.numbers {
            Numbers::Bytes(steps) => Some(Steps { steps: Rc::clone(steps), scales: None }),
            _ => tensor.steps.clone(),
        };
        return Ok(Tensor { sizes: tensor.sizes.clone(), numbers: Numbers::Floats(tensor.to_floats()), steps });
    }
    #[expect(clippy::cast_possible_truncation, reason = "what the operator does")]
    let integers: Vec<i64> = match tensor.as_floats() {
        Some(floats) if kind == BOOL => floats.iter().map(|&x| (x != 0.0).into()).collect(),
        Some(floats) => floats.iter().map(|&x| x as i64).collect(),
        None if kind == BOOL => tensor.to_integers()?.iter().map(|&x| (x != 0).into()).collect(),
        None => tensor.to_integers()?.to_vec(),
    };
    Ok(Tensor::integers(tensor.sizes.clone(), integers))
}

/// Both tensors in the shape that both are repeated to.
fn aligned(a: &Tensor, b: &Tensor) -> Result<(Tensor, Tensor), String> {
    let sizes = broadcast(&a.sizes, &b.sizes)?;
    count(&sizes)?;
    Ok((a.spread(&sizes)?, b.spread(&sizes)?))
}

fn arithmetic(node: &Attributes<'_>, inputs: &[Option<&Tensor>]) -> Result<Tensor, String> {
    let inputs: Vec<&Tensor> = inputs.iter().copied().collect::<Option<_>>().ok_or("an input is missing")?;
    let (first, others) = inputs.split_first().ok_or("an input is missing")?;
    let is_remainder_of_sign = node.int("fmod", 0) != 0;
    others.iter().try_fold((*first).clone(), |a, b| pair(node.op(), &a, b, is_remainder_of_sign))
}

fn pair(op: &str, a: &Tensor, b: &Tensor, is_remainder_of_sign: bool) -> Result<Tensor, String> {
    let scaled = if op == "Mul" { scaled(a, b).or_else(|| scaled(b, a)) } else { None };
    let (a, b) = aligned(a, b)?;
    if a.as_floats().is_none() && b.as_floats().is_none() {
        let outside = "its integers leave their range";
        let each = |(&a, &b): (&i64, &i64)| match op {
            "Add" => a.checked_add(b),
            "Sub" => a.checked_sub(b),
            "Mul" => a.checked_mul(b),
            "Div" => a.checked_div(b),
            "Mod" if is_remainder_of_sign => a.checked_rem(b),
            "Mod" => a
                .checked_rem(b)
                .and_then(|rest| if rest != 0 && (rest < 0) != (b < 0) { rest.checked_add(b) } else { Some(rest) }),
            "Pow" => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
            "Min" => Some(a.min(b)),
            _ => Some(a.max(b)),
        };
        let (left, right) = (a.to_integers()?, b.to_integers()?);
        let integers: Option<Vec<i64>> = left.iter().zip(right.iter()).map(each).collect();
        return Ok(Tensor::integers(a.sizes, integers.ok_or(outside)?));
    }
    let each = |(&a, &b): (&f32, &f32)| match op {
        "Add" => a + b,
        "Sub" => a - b,
        "Mul" => a * b,
        "Div" => a / b,
        "Mod" => a % b,
        "Pow" => a.powf(b),
        "Min" => a.min(b),
        _ => a.max(b),
    };
    let floats = a.to_floats().iter().zip(b.to_floats().iter()).map(each).collect();
    Ok(Tensor { steps: scaled, ..Tensor::floats(a.sizes, floats) })
}

/// int8 steps times a scale a column.
fn scaled(a: &Tensor, scales: &Tensor) -> Option<Steps> {
    let Some(Steps { steps, scales: None }) = &a.steps else { return None };
    let &columns = a.sizes.last()?;
    let is_row =
        scales.sizes.last() == Some(&columns) && scales.len() == columns && scales.sizes.len() <= a.sizes.len();
    is_row.then(|| Steps { steps: Rc::clone(steps), scales: Some(scales.to_floats()) })
}

fn compare(op: &str, a: &Tensor, b: &Tensor) -> Result<Tensor, String> {
    fn holds<T: PartialOrd>(op: &str, a: &T, b: &T, [a_is, b_is]: [bool; 2]) -> i64 {
        let holds = match op {
            "Equal" => a == b,
            "Greater" => a > b,
            "Less" => a < b,
            "GreaterOrEqual" => a >= b,
            "LessOrEqual" => a <= b,
            "And" => a_is && b_is,
            "Or" => a_is || b_is,
            _ => a_is != b_is,
        };
        holds.into()
    }
    let (a, b) = aligned(a, b)?;
    let found = if a.as_floats().is_some() || b.as_floats().is_some() {
        let (a, b) = (a.to_floats(), b.to_floats());
        a.iter().zip(b.iter()).map(|(a, b)| holds(op, a, b, [*a != 0.0, *b != 0.0])).collect()
    } else {
        let (a, b) = (a.to_integers()?, b.to_integers()?);
        a.iter().zip(b.iter()).map(|(a, b)| holds(op, a, b, [*a != 0, *b != 0])).collect()
    };
    Ok(Tensor::integers(a.sizes, found))
}

fn each(op: &str, tensor: &Tensor) -> Result<Tensor, String> {
    let sizes = tensor.sizes.clone();
    let Some(floats) = tensor.as_floats() else {
        let each = |&x: &i64| match op {
            "Not" => Some((x == 0).into()),
            "Neg" => x.checked_neg(),
            "Abs" => x.checked_abs(),
            "IsNaN" | "IsInf" => Some(0),
            _ => None,
        };
        let integers: Option<_> = tensor.to_integers()?.iter().map(each).collect();
        return Ok(Tensor::integers(sizes, integers.ok_or("it is not for integers")?));
    };
    if matches!(op, "Not" | "IsNaN" | "IsInf") {
        let holds = |&x: &f32| match op {
            "Not" => x == 0.0,
            "IsNaN" => x.is_nan(),
            _ => x.is_infinite(),
        };
        return Ok(Tensor::integers(sizes, floats.iter().map(|x| holds(x).into()).collect()));
    }
    let each = |&x: &f32| match op {
        "Neg" => -x,
        "Abs" => x.abs(),
        "Sqrt" => x.sqrt(),
        "Reciprocal" => 1.0 / x,
        "Floor" => x.floor(),
        _ => x.ceil(),
    };
    Ok(Tensor::floats(sizes, floats.iter().map(each).collect()))
}

fn clip(node: &Attributes<'_>, inputs: &[Option<&Tensor>]) -> Result<Tensor, String> {
    let tensor = inputs.first().copied().flatten().ok_or("an input is missing")?;
    let limit = |place: usize| inputs.get(place).copied().flatten().and_then(Tensor::uniform);
    let least = limit(1).unwrap_or_else(|| node.float("min", f32::MIN));
    let greatest = limit(2).unwrap_or_else(|| node.float("max", f32::MAX));
    match tensor.as_floats() {
        Some(floats) => {
            let floats = floats.iter().map(|x| x.max(least).min(greatest)).collect();
            Ok(Tensor::floats(tensor.sizes.clone(), floats))
        }
        None => Err("integers that are limited are not known to the importer".into()),
    }
}

fn choose(condition: &Tensor, yes: &Tensor, no: &Tensor) -> Result<Tensor, String> {
    let (yes, no) = aligned(yes, no)?;
    let sizes = broadcast(&condition.sizes, &yes.sizes)?;
    count(&sizes)?;
    let condition = condition.spread(&sizes)?.to_integers()?;
    let (yes, no) = (yes.spread(&sizes)?, no.spread(&sizes)?);
    if yes.as_floats().is_some() || no.as_floats().is_some() {
        let (yes, no) = (yes.to_floats(), no.to_floats());
        let both = yes.iter().zip(no.iter()).zip(condition.iter());
        return Ok(Tensor::floats(sizes, both.map(|((yes, no), is)| if *is != 0 { *yes } else { *no }).collect()));
    }
    let (yes, no) = (yes.to_integers()?, no.to_integers()?);
    let both = yes.iter().zip(no.iter()).zip(condition.iter());
    Ok(Tensor::integers(sizes, both.map(|((yes, no), is)| if *is != 0 { *yes } else { *no }).collect()))
}

fn range(start: &Tensor, end: &Tensor, step: &Tensor) -> Result<Tensor, String> {
    let one = |tensor: &Tensor| tensor.to_integers()?.first().copied().ok_or_else(|| "an input is empty".to_owned());
    let (start, end, step) = (one(start)?, one(end)?, one(step)?);
    let step = usize::try_from(step).ok().filter(|&step| step > 0).ok_or("it does not count upwards")?;
    let length = usize::try_from(end.saturating_sub(start)).unwrap_or(0).div_ceil(step);
    count(&[length])?;
    Ok(Tensor::integers(vec![length], (start..end).step_by(step).collect()))
}

fn gather_elements(node: &Attributes<'_>, tensor: &Tensor, indices: &Tensor) -> Result<Tensor, String> {
    let axis = wrapped(node.int("axis", 0), tensor.sizes.len())?;
    let length = tensor.sizes.get(axis).copied().unwrap_or(0);
    let fits = |(place, (size, limit)): (usize, (&usize, &usize))| place == axis || size <= limit;
    let is_inside = indices.sizes.iter().zip(&tensor.sizes).enumerate().all(fits);
    if indices.sizes.len() != tensor.sizes.len() || !is_inside {
        return Err(format!("the shapes {:?} and {:?} do not fit", tensor.sizes, indices.sizes));
    }
    let places: Result<Vec<usize>, String> = indices
        .to_integers()?
        .iter()
        .enumerate()
        .map(|(place, &index)| {
            let (mut rest, mut found, mut stride) = (place, 0, 1);
            for (dimension, (&own, &limit)) in indices.sizes.iter().zip(&tensor.sizes).enumerate().rev() {
                let coordinate = if dimension == axis { wrapped(index, length)? } else { rest % own.max(1) };
                found += coordinate * stride;
                stride *= limit;
                rest /= own.max(1);
            }
            Ok(found)
        })
        .collect();
    tensor.shaped(vec![tensor.len()])?.picked(0, &places?)?.shaped(indices.sizes.clone())
}

fn gather_nd(node: &Attributes<'_>, tensor: &Tensor, indices: &Tensor) -> Result<Tensor, String> {
    let (&depth, outer) = indices.sizes.split_last().ok_or("its indices are one number")?;
    if node.int("batch_dims", 0) != 0 || depth == 0 || depth > tensor.sizes.len() {
        return Err("this form of it is not known to the importer".into());
    }
    let (leading, inner) = tensor.sizes.split_at(depth);
    let indices = indices.to_integers()?;
    let places = indices.chunks_exact(depth).map(|index| {
        index.iter().zip(leading).try_fold(0, |found, (&place, &size)| Ok(found * size + wrapped(place, size)?))
    });
    let places: Vec<usize> = places.collect::<Result<_, String>>()?;
    let rows = vec![leading.iter().product(), inner.iter().product()];
    tensor.shaped(rows)?.picked(0, &places)?.shaped([outer, inner].concat())
}

fn reduce(node: &Attributes<'_>, inputs: &[Option<&Tensor>]) -> Result<Tensor, String> {
    let tensor = inputs.first().copied().flatten().ok_or("an input is missing")?;
    let rank = tensor.sizes.len();
    let given = axes(node, inputs.get(1).copied().flatten())?.filter(|axes| !axes.is_empty());
    let axes: Vec<usize> = match given {
        Some(axes) => axes.iter().map(|&axis| wrapped(axis, rank)).collect::<Result<_, _>>()?,
        None if node.int("noop_with_empty_axes", 0) != 0 => return Ok(tensor.clone()),
        None => (0..rank).collect(),
    };
    let kept: Vec<usize> = (0..rank).filter(|axis| !axes.contains(axis)).collect();
    let order = [kept, axes.clone()].concat();
    let length: usize = axes.iter().filter_map(|&axis| tensor.sizes.get(axis)).product();
    let moved = tensor.transposed(&order)?;
    #[expect(clippy::cast_precision_loss, reason = "lengths of masks are small")]
    let floats: Vec<f32> = moved
        .to_floats()
        .chunks_exact(length.max(1))
        .map(|row| match node.op() {
            "ReduceSum" => row.iter().sum(),
            "ReduceMean" => row.iter().sum::<f32>() / length as f32,
            "ReduceMax" => row.iter().copied().fold(f32::NEG_INFINITY, f32::max),
            "ReduceMin" => row.iter().copied().fold(f32::INFINITY, f32::min),
            _ => row.iter().product(),
        })
        .collect();
    let keep = node.int("keepdims", 1) != 0;
    let sizes = tensor.sizes.iter().enumerate().filter(|(axis, _)| keep || !axes.contains(axis));
    let sizes: Vec<usize> = sizes.map(|(axis, &size)| if axes.contains(&axis) { 1 } else { size }).collect();
    if length == 0 {
        return Err("it reduces nothing".into());
    }
    if tensor.as_floats().is_some() {
        return Tensor::floats(vec![floats.len()], floats).shaped(sizes);
    }
    #[expect(clippy::cast_possible_truncation, reason = "sums of integers this small are whole")]
    Tensor::integers(vec![floats.len()], floats.iter().map(|&x| x as i64).collect()).shaped(sizes)
}
