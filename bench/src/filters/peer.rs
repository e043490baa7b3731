//! hnswlib, built from its headers and run on the same files.

use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::datatypes::ToByteSlice;
use serde_json::Value;
use tempfile::TempDir;

use super::Point;
use super::cases::Case;
use crate::graph::Vectors;
use crate::graph::data::write_floats;

/// Environment variable that names the directory with `hnswlib/hnswlib.h`.
const HEADERS: &str = "BROADHEAD_HNSWLIB";
const EFS: &str = "10,16,32,64,128,256,512,1024";

/// Points by case, in the order of ef; why not, where there are none.
pub fn run(scratch: &Path, base: &Vectors, queries: &Vectors, cases: &[Case]) -> Result<Vec<Vec<Point>>, String> {
    let headers = std::env::var_os(HEADERS).ok_or(format!("{HEADERS} names no directory"))?;
    let directory = TempDir::new_in(scratch).map_err(|error| error.to_string())?;
    let program = compile(Path::new(&headers), directory.path())?;
    let at = |name: String| directory.path().join(name);
    base.write_raw(&at("base.f32".into()));
    queries.write_raw(&at("queries.f32".into()));
    for (number, case) in cases.iter().enumerate() {
        let write = |name: &str, values: &[i32]| {
            std::fs::write(at(format!("{name}-{number}.i32")), values.to_byte_slice())
                .map_err(|error| error.to_string())
        };
        write("rows", &case.rows)?;
        write("wanted", &case.wanted)?;
        // It gives inner products, which are distances the other way round.
        write_floats(&at(format!("bars-{number}.f32")), &case.bars.iter().map(|bar| -bar).collect::<Vec<_>>());
    }
    let (dimension, count) = (base.dimension().to_string(), cases.len().to_string());
    let output = Command::new(program).arg(directory.path()).args([&dimension, &count, EFS]).output();
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{} ({})", String::from_utf8_lossy(&output.stderr), output.status));
    }
    let mut points = vec![Vec::new(); cases.len()];
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (number, point) = read(line).ok_or(format!("it printed {line:?}, which is no figure"))?;
        points.get_mut(number).ok_or("it printed of a case that there is not")?.push(point);
    }
    // A query counts ten results, also where fewer pass.
    for (points, case) in points.iter_mut().zip(cases) {
        let of_all = (case.wanted.len() * crate::graph::K) as f64 / case.wanted_hits as f64;
        points.iter_mut().for_each(|point| point.recall *= of_all);
    }
    Ok(points)
}

fn compile(headers: &Path, directory: &Path) -> Result<PathBuf, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/filter_peer.cpp");
    let program = directory.join("filter_peer");
    // As its Python package is built, for this machine.
    let mut command = Command::new("c++");
    command.args(["-std=c++17", "-O3", "-march=native", "-pthread", "-I"]).arg(headers).arg(source);
    let output = command.arg("-o").arg(&program).output().map_err(|error| format!("c++: {error}"))?;
    match output.status.success() {
        true => Ok(program),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn read(line: &str) -> Option<(usize, Point)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let (recall, qps) = (line["recall"].as_f64()?, line["qps"].as_f64()?);
    Some((line["case"].as_u64()? as usize, Point { ef: line["ef"].as_u64()? as usize, recall, qps }))
}
