use std::time::Instant;

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::math::Activation;
use crate::onnx::{Attribute, Graph, Model, Node};
use crate::packed::Pooling;

/// A file beside the fixtures.
fn read(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read(folder.join(name)).unwrap()
}

fn fixture(name: &str) -> Model {
    Model::decode(read(&format!("{name}.onnx")).as_slice()).unwrap()
}

fn graph(model: &mut Model) -> &mut Graph {
    model.graph.as_mut().unwrap()
}

/// The first node whose name ends like this.
fn node<'a>(model: &'a mut Model, end: &str) -> &'a mut Node {
    graph(model).nodes.iter_mut().find(|node| node.name.ends_with(end)).unwrap()
}

fn parts_of(model: &Model) -> Result<ModelParts, String> {
    super::read(&model.encode_to_vec())
}

#[track_caller]
fn refused(model: &Model, expected: &[&str]) {
    let problem = parts_of(model).unwrap_err();
    for part in expected {
        assert!(problem.contains(part), "{problem:?} lacks {part:?}");
    }
}

#[test]
fn the_releases_are_packed_as_ever() {
    // FNV-1a, 64 bits, of all sections, written when the importer still compared graphs name by name. It holds whatever the
    // layout of a packed model is.
    for (name, expected) in
        [("english-toxicity", 0x2314_c085_789e_1270_u64), ("english-toxicity-small", 0x4755_667a_ab35_c47f)]
    {
        let parts = super::read(&read(&format!("../../../../models/{name}/model.onnx"))).unwrap();
        let floats = |floats: &[f32]| bytemuck::cast_slice::<_, u8>(floats).to_vec();
        let norm = |norm: &NormParts| [floats(&norm.weights), floats(&norm.biases)].concat();
        let linear = |linear: &LinearParts| {
            let weights = bytemuck::cast_slice::<_, u8>(&linear.weights).to_vec();
            [weights, floats(&linear.scales), floats(&linear.biases)].concat()
        };
        let mut sections = vec![
            bytemuck::cast_slice(&parts.words).to_vec(),
            floats(&parts.word_scales),
            bytemuck::cast_slice(&parts.positions).to_vec(),
            norm(&parts.embedding_norm),
            floats(&parts.head_weights),
            floats(&parts.head_biases),
        ];
        for layer in &parts.layers {
            sections.push(linear(&layer.queries_keys_values));
            sections.push(linear(&layer.attention_output));
            sections.push(norm(&layer.attention_norm));
            sections.push(linear(&layer.intermediate));
            sections.push(linear(&layer.output));
            sections.push(norm(&layer.output_norm));
        }
        let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let digest = sections.iter().flatten().fold(0xcbf2_9ce4_8422_2325, hash);
        assert_eq!(digest, expected, "{name}: {digest:#x}");
    }
}

#[test]
fn the_form_is_read_off_the_graph() {
    for (name, activation, pooling, pooler) in [
        ("bert-14", Activation::Gelu, Pooling::First, Some(Activation::Tanh)),
        ("bert-relu-17", Activation::Relu, Pooling::First, Some(Activation::Tanh)),
        ("bert-gelu-new-14", Activation::GeluTanh, Pooling::First, Some(Activation::Tanh)),
        ("distilbert-11-eager", Activation::Gelu, Pooling::First, Some(Activation::Relu)),
        ("electra-17", Activation::Gelu, Pooling::First, Some(Activation::Gelu)),
        ("mean-18-dynamo", Activation::Gelu, Pooling::Mean, None),
    ] {
        let shape = parts_of(&fixture(name)).unwrap().shape;
        let expected = Shape {
            layers: 2,
            width: 16,
            heads: 2,
            inner: 24,
            labels: 3,
            positions: 24,
            vocabulary: 48,
            epsilon: 1e-12,
            activation,
            pooling,
            pooler,
        };
        let expected = Shape { vocabulary: shape.vocabulary, ..expected };
        assert_eq!(shape, expected, "{name}");
    }
}

#[test]
fn nodes_that_the_encoder_does_not_know_are_named_one_by_one() {
    let model = fixture("bert-silu-17");
    let layer = |layer: usize| {
        format!(
            "node \"/model/bert/encoder/layer.{layer}/intermediate/intermediate_act_fn/Sigmoid\" (Sigmoid): not an operation"
        )
    };
    refused(&model, &[&layer(0), &layer(1)]);
    assert_eq!(parts_of(&model).unwrap_err().lines().count(), 2);

    let mut model = fixture("bert-relu-17");
    for node in graph(&mut model).nodes.iter_mut().filter(|node| node.op == "LayerNormalization" || node.op == "Relu") {
        node.domain = "com.example".to_owned();
    }
    refused(
        &model,
        &["embeddings/LayerNorm/LayerNormalization\" (com.example.LayerNormalization)", "(com.example.Relu)"],
    );
    assert_eq!(parts_of(&model).unwrap_err().lines().count(), 7);

    let mut model = fixture("bert-14");
    graph(&mut model).nodes.iter_mut().filter(|node| node.op == "MatMul").for_each(|node| node.op = "Conv".to_owned());
    refused(&model, &["layer.0/attention/self/query/MatMul\" (Conv)", "and 6 nodes more"]);
}

#[test]
fn a_changed_node_is_named() {
    type Change = fn(&mut Model);
    let changes: [(Change, &[&str]); 9] = [
        (
            |model| node(model, "layer.1/attention/self/Softmax").attributes[0].int = 2,
            &["layer.1/attention/self/Softmax\" (Softmax): expected the last axis"],
        ),
        (
            |model| node(model, "layer.0/attention/self/Softmax").op = "Relu".to_owned(),
            &["layer.0/attention/self/Softmax\" (Relu): expected attention: Softmax"],
        ),
        (
            |model| node(model, "layer.0/attention/self/Mul").op = "Div".to_owned(),
            &["layer.0/attention/self/", "expected scores that are divided by √8"],
        ),
        (
            |model| node(model, "layer.0/attention/self/Transpose_3").attributes[0].ints = vec![0, 1, 2, 3],
            &["layer.0/attention", "Reshape"],
        ),
        (
            // A second time around the feed-forward part.
            |model| {
                let before = node(model, "layer.1/attention/output/LayerNorm/LayerNormalization").outputs[0].clone();
                let end = node(model, "layer.1/output/Add");
                let output = std::mem::replace(&mut end.outputs[0], "once".to_owned());
                let place = graph(model).nodes.iter().position(|node| node.outputs[0] == "once").unwrap();
                let twice = Node {
                    inputs: vec!["once".to_owned(), before],
                    outputs: vec![output],
                    name: "twice".to_owned(),
                    op: "Add".to_owned(),
                    ..Node::default()
                };
                graph(model).nodes.insert(place + 1, twice);
            },
            &["node \"twice\" (Add): expected the sum of a linear layer and of the hidden state"],
        ),
        (
            // Normalised before the sum.
            |model| {
                let sum = node(model, "layer.0/output/Add").clone();
                node(model, "layer.0/output/LayerNorm/LayerNormalization").inputs[0] = sum.inputs[0].clone();
                let place =
                    graph(model).nodes.iter().position(|node| node.name.ends_with("layer.0/output/Add")).unwrap();
                let nodes = &mut graph(model).nodes;
                let mut sum = nodes.remove(place);
                let norm = &mut nodes[place];
                std::mem::swap(&mut norm.outputs, &mut sum.outputs);
                sum.inputs[0] = norm.outputs[0].clone();
                nodes.insert(place + 1, sum);
            },
            &["layer.0/output/Add\" (Add): expected layer normalisation"],
        ),
        (
            |model| {
                let norm = node(model, "layer.0/output/LayerNorm/LayerNormalization");
                norm.attributes.iter_mut().find(|attribute| attribute.name == "epsilon").unwrap().float = 0.5;
            },
            &["layer.0/output/LayerNorm/LayerNormalization", "epsilon"],
        ),
        (
            |model| node(model, "pooler/activation/Tanh").op = "Erf".to_owned(),
            &["pooler/activation/Tanh\" (Erf): expected the first token's hidden state"],
        ),
        (
            |model| node(model, "layer.1/attention/self/query/MatMul").inputs.swap(0, 1),
            &["layer.1/attention/self/query/MatMul\" (MatMul): not an operation of the encoder"],
        ),
    ];
    for (change, expected) in changes {
        let mut model = fixture("bert-17-eager");
        change(&mut model);
        refused(&model, expected);
    }
}

#[test]
fn files_that_do_not_hold_together_are_refused() {
    type Change = fn(&mut Model);
    let changes: [(Change, &str); 12] = [
        (|model| model.opsets[0].version = 7, "version 7"),
        (|model| graph(model).outputs.clear(), "the logits alone are expected"),
        (|model| graph(model).inputs[0].name = "pixels".to_owned(), "input \"pixels\""),
        (
            |model| {
                let kind = graph(model).inputs[0].kind.as_mut().unwrap().tensor.as_mut().unwrap();
                kind.sizes.as_mut().unwrap().sizes[1].value = Some(128);
            },
            "texts of 128 tokens only",
        ),
        (|model| assert!(graph(model).initializers[0].raw.pop().is_some()), "raw bytes"),
        (|model| graph(model).initializers[0].dimensions.push(3), "numbers for the shape"),
        (|model| graph(model).initializers[0].location = 1, "another file"),
        (|model| graph(model).initializers[0].raw.fill(0xff), "what is no number"),
        (
            |model| {
                let again = graph(model).initializers[0].clone();
                graph(model).initializers.push(again);
            },
            "two initializers",
        ),
        (
            |model| {
                let again = graph(model).nodes[40].clone();
                graph(model).nodes.push(again);
            },
            "two values",
        ),
        (
            |model| node(model, "layer.0/output/Add").inputs[0] = "nowhere".to_owned(),
            "\"nowhere\" is computed by no node",
        ),
        (
            |model| {
                let later = node(model, "layer.1/output/Add").outputs[0].clone();
                node(model, "layer.0/output/Add").inputs[0] = later;
            },
            "is computed by no node before it",
        ),
    ];
    for (change, expected) in changes {
        let mut model = fixture("bert-17-eager");
        change(&mut model);
        refused(&model, &[expected]);
    }
}

#[test]
fn a_graph_of_many_nodes_takes_no_stack() {
    let mut model = fixture("bert-17-eager");
    let last = node(&mut model, "classifier/Gemm").outputs[0].clone();
    let mut before = last;
    for place in 0..100_000 {
        let name = format!("more {place}");
        let node = Node {
            inputs: vec![before, "input_ids".to_owned()].into_iter().take(1).collect(),
            outputs: vec![name.clone()],
            op: if place % 2 == 0 { "Tanh" } else { "Erf" }.to_owned(),
            ..Node::default()
        };
        graph(&mut model).nodes.push(node);
        before = name;
    }
    graph(&mut model).outputs[0].name = before;
    refused(&model, &["node \"more 99999\" (Erf): expected the head"]);
}

#[test]
fn a_known_tensor_that_is_too_large_is_refused() {
    let mut model = fixture("bert-17-eager");
    let huge = crate::onnx::Tensor {
        name: "huge".to_owned(),
        dimensions: vec![3],
        kind: crate::onnx::INT64,
        longs: vec![1 << 40, 1 << 20, 7],
        ..Default::default()
    };
    graph(&mut model).initializers.push(huge);
    let node = Node {
        inputs: vec!["huge".to_owned()],
        outputs: vec!["filled".to_owned()],
        op: "ConstantOfShape".to_owned(),
        ..Node::default()
    };
    graph(&mut model).nodes.insert(0, node);
    self::node(&mut model, "layer.0/output/Add").inputs[0] = "filled".to_owned();
    refused(&model, &["node \"filled\" (ConstantOfShape): a tensor of the shape"]);
}

/// What a graph can get wrong.
#[derive(Debug, Clone)]
enum Damage {
    Op(prop::sample::Index, &'static str),
    Input(prop::sample::Index, prop::sample::Index),
    Int(prop::sample::Index, i64),
    Ints(prop::sample::Index, Vec<i64>),
    Sizes(prop::sample::Index, Vec<i64>),
    Longs(prop::sample::Index, Vec<i64>),
    Cut(prop::sample::Index),
    Kind(prop::sample::Index, i32),
}

fn damage() -> impl Strategy<Value = Damage> {
    const OPS: [&str; 24] = [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "MatMul",
        "Gemm",
        "Softmax",
        "Reshape",
        "Transpose",
        "Gather",
        "Slice",
        "Concat",
        "Where",
        "Expand",
        "Squeeze",
        "Unsqueeze",
        "Range",
        "GatherND",
        "GatherElements",
        "ReduceMean",
        "ReduceSum",
        "Cast",
        "Pow",
        "Flatten",
    ];
    let index = any::<prop::sample::Index>;
    let edge = prop_oneof![-3..6_i64, Just(i64::MAX), Just(i64::MIN), Just(1 << 40)];
    let ints = || prop::collection::vec(prop_oneof![-3..6_i64, Just(i64::MAX), Just(i64::MIN), Just(1 << 40)], 0..6);
    prop_oneof![
        (index(), prop::sample::select(OPS.to_vec())).prop_map(|(at, op)| Damage::Op(at, op)),
        (index(), index()).prop_map(|(at, from)| Damage::Input(at, from)),
        (index(), edge).prop_map(|(at, int)| Damage::Int(at, int)),
        (index(), ints()).prop_map(|(at, ints)| Damage::Ints(at, ints)),
        (index(), ints()).prop_map(|(at, ints)| Damage::Sizes(at, ints)),
        (index(), ints()).prop_map(|(at, ints)| Damage::Longs(at, ints)),
        index().prop_map(Damage::Cut),
        (index(), -1..20).prop_map(|(at, kind)| Damage::Kind(at, kind)),
    ]
}

fn apply(graph: &mut Graph, damage: &Damage) {
    let attribute = |nodes: &mut Vec<Node>, at: &prop::sample::Index, change: &dyn Fn(&mut Attribute)| {
        let attributes: Vec<_> = nodes.iter_mut().flat_map(|node| &mut node.attributes).collect();
        let count = attributes.len();
        attributes.into_iter().nth(at.index(count)).into_iter().for_each(change);
    };
    match damage {
        Damage::Op(at, op) => at.get_mut(&mut graph.nodes).op = (*op).to_owned(),
        Damage::Input(at, from) => {
            let name = from.get(&graph.nodes).outputs[0].clone();
            let node = at.get_mut(&mut graph.nodes);
            if node.inputs.is_empty() {
                node.inputs.push(name);
            } else {
                *at.get_mut(&mut node.inputs) = name;
            }
        }
        Damage::Int(at, int) => attribute(&mut graph.nodes, at, &|attribute| attribute.int = *int),
        Damage::Ints(at, ints) => attribute(&mut graph.nodes, at, &|attribute| attribute.ints.clone_from(ints)),
        Damage::Sizes(at, sizes) => at.get_mut(&mut graph.initializers).dimensions.clone_from(sizes),
        // Constants of the arithmetic of shapes.
        Damage::Longs(at, ints) => attribute(&mut graph.nodes, at, &|attribute| {
            if let Some(tensor) = &mut attribute.tensor {
                tensor.kind = crate::onnx::INT64;
                tensor.dimensions = vec![i64::try_from(ints.len()).unwrap()];
                tensor.raw.clear();
                tensor.longs.clone_from(ints);
            }
        }),
        Damage::Cut(at) => drop(at.get_mut(&mut graph.initializers).raw.pop()),
        Damage::Kind(at, kind) => at.get_mut(&mut graph.initializers).kind = *kind,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_graph_is_refused_or_read(
        name in prop::sample::select(vec!["bert-14", "bert-20-dynamo", "mean-14", "distilbert-11-eager"]),
        damages in prop::collection::vec(damage(), 1..4),
    ) {
        let mut model = fixture(name);
        for damage in &damages {
            apply(graph(&mut model), damage);
        }
        let start = Instant::now();
        let _ = parts_of(&model);
        prop_assert!(start.elapsed().as_secs() < 300, "{:?}", damages);
    }
}

#[test]
fn widths_that_the_kernels_do_not_take_are_refused() {
    let shape = Shape {
        layers: 1,
        width: 384,
        heads: 12,
        inner: 1536,
        labels: 6,
        positions: 256,
        vocabulary: 100,
        epsilon: 1e-12,
        activation: Activation::Gelu,
        pooling: Pooling::Mean,
        pooler: None,
    };
    assert_eq!(shape.check(), Ok(()));
    for changed in [
        Shape { width: 380, heads: 10, ..shape },
        Shape { inner: 1532, ..shape },
        Shape { heads: 7, ..shape },
        Shape { heads: 0, ..shape },
        Shape { layers: 0, ..shape },
    ] {
        assert!(changed.check().is_err(), "{changed:?}");
    }
}

#[test]
fn another_tokenizer_is_refused_by_name() {
    type Change = fn(&mut serde_json::Value);
    let original: serde_json::Value =
        serde_json::from_slice(&read("../../../../models/english-toxicity/tokenizer.json")).unwrap();
    let changes: [(Change, &str); 7] = [
        (|t| t["model"]["type"] = "BPE".into(), "model is BPE"),
        (|t| t["model"]["continuing_subword_prefix"] = "@@".into(), "@@"),
        (|t| t["model"]["max_input_chars_per_word"] = 50.into(), "50"),
        (|t| t["normalizer"]["lowercase"] = false.into(), "lowercase false, not true"),
        (|t| t["pre_tokenizer"]["type"] = "Whitespace".into(), "pre_tokenizer has the type \"Whitespace\""),
        (|t| t["added_tokens"][0]["special"] = false.into(), "[PAD]"),
        (|t| t["post_processor"]["single"] = serde_json::json!([]), "post_processor"),
    ];
    for (change, expected) in changes {
        let mut changed = original.clone();
        change(&mut changed);
        let problem = wordpiece::import(changed.to_string().as_bytes()).unwrap_err();
        assert!(problem.contains(expected), "{problem:?} lacks {expected:?}");
    }
}
