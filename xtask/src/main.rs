//! The project's own commands, `cargo xtask NAME`. They install what rustup, npm and pip can give, and name the rest.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool for developers")]
#![allow(clippy::indexing_slicing, reason = "serde_json's values give null where a key is missing")]

mod cases;
mod component;
mod demo;
mod determinism;
mod measure;
mod shell;
mod test;
mod tidy;
mod web;

use std::process::ExitCode;

use anyhow::Result;

const HELP: &str = "\
usage: cargo xtask COMMAND

  demo        build everything, bake the shipped model, moderate the sample comments, serve on localhost
  component   build both engines and bake the shipped models beside `palisade`
  test        every check that CI runs
  tidy        the checks of the tree alone: arrows between crates, imports, sizes
  cases       write the golden cases' scores anew (look at the difference before you commit it)
  measure     measure the shipped releases on both suites, and write metrics.json, the HTML reports and the cards
  determinism compare the scores of every engine, to the bit; `determinism avx` for those with a name like that
  web         the npm package and the site: build them, and drive them in Node and Chromium (pictures in target/web)
  bench       hold the speed against its targets and onnxruntime, native and in Node; `bench --short` for a quick look
  load        compare the endpoint under load with FastAPI and onnxruntime; `load --short` for a quick look
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return ExitCode::from(2);
    };
    match run(command, rest) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprint!("xtask: no command {command:?}\n\n{HELP}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("xtask: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str, rest: &[String]) -> Result<bool> {
    match command {
        "demo" => demo::run_demo(rest)?,
        "component" => drop(component::build_with_tract()?),
        "test" => test::run_all()?,
        "tidy" => tidy::run()?,
        "cases" => cases::write()?,
        "measure" => measure::write()?,
        "determinism" => determinism::run_alone(rest)?,
        "web" => web::run_alone()?,
        "bench" => test::bench(rest)?,
        "load" => test::load(&component::build()?, rest)?,
        "help" | "--help" | "-h" => print!("{HELP}"),
        _ => return Ok(false),
    }
    Ok(true)
}
