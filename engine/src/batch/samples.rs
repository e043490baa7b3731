//! Random batches of every column type, from a seed.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;

use crate::placement::splitmix64;
use crate::schema::{CODES_KEY, ELEMENT_KEY, METRIC_KEY, ROLE_KEY, Schema as CollectionSchema};

/// splitmix64, so that a seed means the same everywhere.
pub(crate) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        let next = splitmix64(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        next
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// In -1..1, never zero.
    pub fn unit(&mut self) -> f32 {
        ((self.below(1 << 24) as f32 + 0.5) / (1 << 23) as f32) - 1.0
    }

    pub fn text(&mut self) -> String {
        const PIECES: [&str; 8] = ["a", "lib", "ß", "東京", "-", "🦀", "", "long enough to leave any inline form"];
        (0..self.below(4)).map(|_| PIECES[self.below(8) as usize]).collect()
    }
}

fn list(item: DataType, elements: i32) -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new("item", item, true)), elements)
}

fn vector(name: &str, data_type: DataType, metric: &str) -> Field {
    let metadata = [(ROLE_KEY.to_string(), "vector".to_string()), (METRIC_KEY.to_string(), metric.to_string())];
    Field::new(name, data_type, false).with_metadata(std::collections::HashMap::from(metadata))
}

fn bf16(name: &str, elements: i32, metric: &str) -> Field {
    let field = vector(name, list(DataType::UInt16, elements), metric);
    let mut metadata: std::collections::HashMap<String, String> = field.metadata().clone().into();
    metadata.insert(ELEMENT_KEY.into(), "bf16".into());
    field.with_metadata(metadata)
}

/// A vector too short to have codes unless it says so.
fn coded(field: Field) -> Field {
    let mut metadata: std::collections::HashMap<String, String> = field.metadata().clone().into();
    metadata.insert(CODES_KEY.into(), "int8".into());
    field.with_metadata(metadata)
}

/// Every type a column can have.
pub(crate) fn schema(text_ids: bool) -> Arc<CollectionSchema> {
    let id = if text_ids { DataType::Utf8 } else { DataType::UInt64 };
    let mut fields = vec![
        Field::new("id", id, false),
        coded(vector("f32", list(DataType::Float32, 12), "cosine")),
        coded(vector("f16", list(DataType::Float16, 5), "l2")),
        coded(bf16("bf16", 6, "cosine")),
        vector("i8", list(DataType::Int8, 3), "dot"),
        vector("u8", list(DataType::UInt8, 7), "cosine"),
        coded(vector("i32", list(DataType::Int32, 9), "l2")),
        vector("bits", DataType::FixedSizeBinary(3), "hamming"),
    ];
    let zone = Some("UTC".into());
    let types = [
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::Float32,
        DataType::Float64,
        DataType::Date32,
        DataType::Timestamp(TimeUnit::Microsecond, zone),
        DataType::Utf8,
        DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))),
    ];
    for (index, data_type) in types.into_iter().enumerate() {
        fields.push(Field::new(format!("data{index}"), data_type.clone(), true));
        fields.push(Field::new(format!("full{index}"), data_type, false));
    }
    Arc::new(CollectionSchema::from_arrow(&Schema::new(fields)).expect("a good schema"))
}

/// One u64 id and one f32 vector under cosine.
pub(crate) fn narrow(dimension: i32) -> Arc<CollectionSchema> {
    let vector = vector("v", list(DataType::Float32, dimension), "cosine");
    let vector = if dimension <= 16 { coded(vector) } else { vector };
    let fields = vec![Field::new("id", DataType::UInt64, false), vector];
    Arc::new(CollectionSchema::from_arrow(&Schema::new(fields)).expect("a good schema"))
}

/// A batch of `narrow`: element `i` of the vector of `id` is `value(id, i)`.
pub(crate) fn narrow_batch(schema: &CollectionSchema, ids: &[u64], value: impl Fn(u64, usize) -> f32) -> RecordBatch {
    let dimension = schema.vectors()[0].dimension;
    let elements: Vec<f32> =
        ids.iter().flat_map(|&id| (0..dimension).map(move |i| (id, i))).map(|(id, i)| value(id, i)).collect();
    let arrays = vec![
        Arc::new(UInt64Array::from(ids.to_vec())) as ArrayRef,
        vectors(schema.arrow().field(1), Arc::new(Float32Array::from(elements))),
    ];
    RecordBatch::try_new(schema.arrow().clone(), arrays).expect("a good batch")
}

fn vectors(field: &Field, items: ArrayRef) -> ArrayRef {
    let DataType::FixedSizeList(item, elements) = field.data_type() else { panic!("a list") };
    Arc::new(FixedSizeListArray::try_new(item.clone(), *elements, items, None).expect("a good list"))
}

/// A random batch of `schema`; ids ascend from `first_id`, one value in `null_one_in` is null (0: none).
pub(crate) fn batch(
    schema: &CollectionSchema,
    rows: usize,
    first_id: u64,
    null_one_in: u64,
    random: &mut Random,
) -> RecordBatch {
    let arrays = schema.arrow().fields().iter().map(|field| match field.data_type() {
        DataType::FixedSizeList(item, elements) => {
            let count = rows * *elements as usize;
            let items: ArrayRef = match item.data_type() {
                DataType::Float32 => Arc::new(Float32Array::from_iter_values((0..count).map(|_| random.unit()))),
                DataType::Float16 => {
                    Arc::new(Float16Array::from_iter_values((0..count).map(|_| half::f16::from_f32(random.unit()))))
                }
                DataType::UInt16 => Arc::new(UInt16Array::from_iter_values(
                    (0..count).map(|_| half::bf16::from_f32(random.unit()).to_bits()),
                )),
                DataType::Int32 => Arc::new(Int32Array::from_iter_values((0..count).map(|_| random.next() as i32))),
                DataType::Int8 => Arc::new(Int8Array::from_iter_values((0..count).map(|_| random.next() as i8))),
                _ => Arc::new(UInt8Array::from_iter_values((0..count).map(|_| random.next() as u8 | 1))),
            };
            vectors(field, items)
        }
        DataType::FixedSizeBinary(_) => {
            let values = (0..rows).map(|_| random.next().to_le_bytes()[..3].to_vec());
            Arc::new(FixedSizeBinaryArray::try_from_iter(values).expect("a good array")) as ArrayRef
        }
        DataType::UInt64 if field.name() == "id" => {
            Arc::new(UInt64Array::from_iter_values(first_id..first_id + rows as u64))
        }
        DataType::Utf8 if field.name() == "id" => {
            Arc::new(StringArray::from_iter_values((first_id..first_id + rows as u64).map(|id| format!("id-{id}"))))
        }
        data_type => data(data_type, rows, if field.is_nullable() { null_one_in } else { 0 }, random),
    });
    let arrays = arrays.collect();
    RecordBatch::try_new(schema.arrow().clone(), arrays).expect("a good batch")
}

fn data(data_type: &DataType, rows: usize, null_one_in: u64, random: &mut Random) -> ArrayRef {
    let mut bits: Vec<Option<u64>> = Vec::with_capacity(rows);
    for _ in 0..rows {
        let is_null = null_one_in > 0 && random.below(null_one_in) == 0;
        bits.push((!is_null).then(|| random.next()));
    }
    fn primitive<T: ArrowPrimitiveType>(
        bits: &[Option<u64>],
        value: impl Fn(u64) -> T::Native,
        data_type: &DataType,
    ) -> ArrayRef {
        let array: PrimitiveArray<T> = bits.iter().map(|bits| bits.map(&value)).collect();
        Arc::new(array.with_data_type(data_type.clone()))
    }
    match data_type {
        DataType::Boolean => Arc::new(bits.iter().map(|bits| bits.map(|bits| bits & 1 == 1)).collect::<BooleanArray>()),
        DataType::Utf8 => {
            Arc::new(bits.iter().map(|bits| bits.map(|bits| Random(bits).text())).collect::<StringArray>())
        }
        DataType::List(_) => {
            let mut lists = ListBuilder::new(StringBuilder::new());
            for bits in &bits {
                if let Some(bits) = bits {
                    let mut random = Random(*bits);
                    (0..random.below(4)).for_each(|_| lists.values().append_value(random.text()));
                }
                lists.append(bits.is_some());
            }
            Arc::new(lists.finish())
        }
        DataType::Int8 => primitive::<Int8Type>(&bits, |bits| bits as i8, data_type),
        DataType::Int16 => primitive::<Int16Type>(&bits, |bits| bits as i16, data_type),
        DataType::Int32 => primitive::<Int32Type>(&bits, |bits| bits as i32, data_type),
        DataType::Int64 => primitive::<Int64Type>(&bits, |bits| bits as i64, data_type),
        DataType::UInt8 => primitive::<UInt8Type>(&bits, |bits| bits as u8, data_type),
        DataType::UInt16 => primitive::<UInt16Type>(&bits, |bits| bits as u16, data_type),
        DataType::UInt32 => primitive::<UInt32Type>(&bits, |bits| bits as u32, data_type),
        DataType::UInt64 => primitive::<UInt64Type>(&bits, |bits| bits, data_type),
        DataType::Float32 => primitive::<Float32Type>(&bits, |bits| bits as f32, data_type),
        DataType::Float64 => primitive::<Float64Type>(&bits, |bits| bits as f64, data_type),
        DataType::Date32 => primitive::<Date32Type>(&bits, |bits| bits as i32, data_type),
        _ => primitive::<TimestampMicrosecondType>(&bits, |bits| bits as i64, data_type),
    }
}
