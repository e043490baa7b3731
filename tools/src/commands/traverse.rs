//! `broadhead traverse`: along edges to the nodes that they lead to.

use clap::ValueEnum;
use engine::edges::{Direction, Follow, Spread};
use engine::limits::HOPS_MAX;
use engine::traversal::TraversalRequest;
use net::client::{Client, Id, Node, TraverseRequest};
use serde_json::{Value, json};

use crate::cli::Remote;
use crate::commands::{IdTexts, ids_of_kind, json_row};
use crate::error::{RequestProblem, Result};
use crate::output::{self, Table, grouped, shortest, text_cell};

/// Arguments of `traverse`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The collection whose rows are the edges.
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// Ids of the nodes where it begins: `a,b`, or a JSON array where ids have commas in them.
    #[arg(long, required = true, value_name = "ID,…")]
    from: Vec<IdTexts>,
    /// Hops, at most.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(HOPS_MAX)))]
    hops: u8,
    /// Leave nodes at fewer hops out; 0 shows those where it begins.
    #[arg(long, default_value_t = 1, value_name = "N")]
    hops_min: u8,
    /// Which way edges are followed.
    #[arg(long, value_enum, default_value = "out")]
    direction: Way,
    /// Types of edges that are followed [default: any]
    #[arg(long, value_delimiter = ',', value_name = "TYPE,…")]
    types: Vec<String>,
    /// Least weight of edges that are followed.
    #[arg(long, default_value_t = 0.0, value_name = "WEIGHT")]
    weight_min: f32,
    /// Follow so many edges of a node at most, the heaviest [default: all]
    #[arg(long, default_value_t = 0, value_name = "N", hide_default_value = true)]
    fan_out: u32,
    /// Have activation spread, and say what is left of it after a hop: above 0, at most 1. Nodes are then in its order.
    #[arg(long, value_name = "PART")]
    decay: Option<f64>,
    /// Activation goes along an edge by its weight, and not by its part of the weights of all edges of the node.
    #[arg(long, requires = "decay")]
    raw: bool,
    /// Nodes that are reached at most.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    nodes_max: u32,
    /// Nodes that are shown at most.
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    limit: u32,
    /// Show nodes too that no row has the id of.
    #[arg(long)]
    missing: bool,
    /// Columns of the nodes to show.
    #[arg(long, value_delimiter = ',', value_name = "NAME,…", conflicts_with = "missing")]
    columns: Vec<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Which way edges are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// From where they come to where they lead.
    Out,
    /// The other way.
    In,
    /// Both ways.
    Both,
}

impl Arguments {
    fn options(&self) -> TraversalRequest {
        TraversalRequest {
            hops: self.hops,
            hops_min: self.hops_min,
            follow: Follow {
                direction: match self.direction {
                    Way::Out => Direction::Out,
                    Way::In => Direction::In,
                    Way::Both => Direction::Both,
                },
                kinds: self.types.clone(),
                weight_min: self.weight_min,
                fan_out: self.fan_out as usize,
            },
            spread: self.decay.map(|decay| Spread { decay, raw: self.raw }),
            nodes_max: self.nodes_max as usize,
            limit: self.limit as usize,
            missing: self.missing,
        }
    }
}

/// Shows the nodes, in their order.
pub fn run(arguments: &Arguments) -> Result<()> {
    let client = arguments.remote.connect()?;
    let edges = client.collection(&arguments.collection)?;
    let Some(columns) = edges.engine_schema().edges() else {
        return Err(RequestProblem::NoEdges { collection: arguments.collection.clone() }.into());
    };
    let seeds = ids_of_kind(columns.node_kind, &IdTexts::all(&arguments.from))?;
    let request = TraverseRequest { options: arguments.options(), ..TraverseRequest::from(&seeds) };
    let reply = edges.traverse(&request)?.wait()?;
    let shown = match &columns.nodes {
        _ if arguments.columns.is_empty() => Shown::default(),
        Some(nodes) => Shown::read(&client, nodes, &reply.nodes, &arguments.columns)?,
        None => return Err(RequestProblem::NoNodes { collection: arguments.collection.clone() }.into()),
    };
    if arguments.remote.json {
        for (index, node) in reply.nodes.iter().enumerate() {
            output::line(shown.json(index, node, arguments.decay.is_some()));
        }
        return Ok(());
    }
    let names = arguments.columns.iter().map(String::as_str).filter(|_| shown.rows.is_some());
    let activation = arguments.decay.map(|_| "activation");
    let mut table = Table::new(["id", "hops", "weight"].into_iter().chain(activation).chain(names));
    for (index, node) in reply.nodes.iter().enumerate() {
        let mut cells = vec![node.id.to_string(), node.hops.to_string(), shortest(node.weight).to_string()];
        cells.extend(activation.map(|_| format!("{:.4}", node.activation)));
        cells.extend(shown.cells(index));
        table.row(cells);
    }
    table.print();
    output::line(format_args!(
        "{} nodes; {} edges were looked at{}",
        grouped(reply.nodes.len() as u64),
        grouped(reply.edges),
        if reply.is_truncated { ", then a limit was met: there may be more" } else { "" }
    ));
    Ok(())
}

/// Columns of the nodes, where some were asked for.
#[derive(Default)]
struct Shown {
    rows: Option<arrow::array::RecordBatch>,
    /// Row of each node.
    places: Vec<Option<usize>>,
}

impl Shown {
    fn read(client: &Client, nodes: &str, found: &[Node], columns: &[String]) -> Result<Shown> {
        if found.is_empty() {
            return Ok(Shown::default());
        }
        let collection = client.collection(nodes)?;
        let id_column = collection.engine_schema().id_column();
        let names: Vec<&str> = std::iter::once(collection.schema().field(id_column).name().as_str())
            .chain(columns.iter().map(String::as_str))
            .collect();
        let ids = found.iter().map(|node| node.id.to_string()).collect::<Vec<_>>();
        let ids = ids_of_kind(collection.id_kind(), &ids)?;
        let rows = collection.get(&ids, &names)?;
        // A row may have gone meanwhile: the ids say whose row is which.
        let by_id: std::collections::HashMap<String, usize> =
            (0..rows.num_rows()).map(|row| (text_cell(rows.column(0), row), row)).collect();
        let places = found.iter().map(|node| by_id.get(&node.id.to_string()).copied()).collect();
        let columns: Vec<usize> = (1..rows.num_columns()).collect();
        let rows = rows.project(&columns).expect("columns of the batch");
        Ok(Shown { rows: Some(rows), places })
    }

    fn cells(&self, index: usize) -> Vec<String> {
        let Some(rows) = &self.rows else { return Vec::new() };
        let cell = |column| self.places[index].map_or(String::new(), |row| text_cell(column, row));
        rows.columns().iter().map(cell).collect()
    }

    fn json(&self, index: usize, node: &Node, has_activation: bool) -> Value {
        let id = match &node.id {
            Id::Utf8(id) => Value::from(id.as_str()),
            Id::U64(id) => Value::from(*id),
            Id::I64(id) => Value::from(*id),
        };
        let mut object = json!({ "id": id, "hops": node.hops, "weight": shortest(node.weight) });
        let fields = object.as_object_mut().expect("an object");
        if has_activation {
            fields.insert("activation".to_owned(), Value::from(shortest(node.activation)));
        }
        if let Some(rows) = &self.rows {
            let row = self.places[index].map_or_else(serde_json::Map::new, |row| json_row(rows, row));
            fields.insert("columns".to_owned(), Value::Object(row));
        }
        object
    }
}
