//! The pass over a function's body.

use wasmparser::{
    BlockType, BrTable, FunctionBody, Operator, OperatorsReader, OperatorsReaderAllocations,
};

use super::Refusal;
use super::limits::ModuleLimit;
use super::module::{Indices, Shape, is_reference};
use super::tally::{LimitExceeded, Tally};

/// A block that is open.
#[derive(Clone, Copy, Debug)]
struct Label {
    /// How many values a branch to it carries.
    carried: u32,
    /// The block's parameters and results, which `else` takes and gives once more.
    values: u64,
    /// How many handlers of exceptions are in scope inside of it.
    handlers: u64,
    /// How many loops it is in, itself included.
    loops: u64,
}

/// What opens a block.
#[derive(Clone, Copy, Debug)]
enum Opening {
    /// `block`, `if`, or `try_table` with so many handlers.
    Block {
        handlers: u64,
    },
    Loop,
}

/// Passes over bodies, one after the other, with the allocations that they share.
#[derive(Default)]
pub(super) struct FunctionPass {
    labels: Vec<Label>,
    operators: OperatorsReaderAllocations,
}

impl std::fmt::Debug for FunctionPass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FunctionPass").field("labels", &self.labels).finish_non_exhaustive()
    }
}

impl FunctionPass {
    /// Reads the body of a function of type `shape`.
    pub(super) fn read(
        &mut self,
        shape: Shape,
        body: &FunctionBody<'_>,
        indices: &Indices,
        tally: &mut Tally,
    ) -> Result<(), Refusal> {
        let range = body.range();
        tally.at(range.start);
        tally.add(ModuleLimit::FunctionBytes, range.len() as u64)?;
        tally.add(ModuleLimit::Locals, u64::from(shape.params))?;
        let mut references = u64::from(shape.taken_references);
        let mut locals = body.get_locals_reader()?;
        for _ in 0..locals.get_count() {
            let (count, ty) = locals.read()?;
            tally.add(ModuleLimit::Locals, u64::from(count))?;
            references += if is_reference(&ty) { u64::from(count) } else { 0 };
        }
        self.labels.clear();
        self.labels.push(Label { carried: shape.results, values: 0, handlers: 0, loops: 0 });
        let allocations = std::mem::take(&mut self.operators);
        let mut reader = OperatorsReader::new_with_allocs(locals.get_binary_reader(), allocations);
        let labels = &mut self.labels;
        let mut reading = Reading { labels, indices, tally, references, calls: 0 };
        while !reader.eof() {
            reading.tally.at(reader.original_position());
            reading.operator(&reader.read()?)?;
        }
        self.operators = reader.into_allocations();
        Ok(())
    }
}

/// A body that is being read.
struct Reading<'a> {
    labels: &'a mut Vec<Label>,
    indices: &'a Indices,
    tally: &'a mut Tally,
    /// References that may be live at once: locals, and results of operators.
    references: u64,
    /// Operators during which garbage may be collected.
    calls: u64,
}

impl Reading<'_> {
    /// Counts operators of control.
    fn operator(&mut self, operator: &Operator<'_>) -> Result<(), LimitExceeded> {
        use Operator as O;
        match operator {
            O::Block { blockty } | O::If { blockty } => {
                self.open(*blockty, Opening::Block { handlers: 0 })
            }
            O::Loop { blockty } => {
                self.tally.add(ModuleLimit::Loops, 1)?;
                let factors = (ModuleLimit::Locals, ModuleLimit::Loops);
                self.tally.multiply(ModuleLimit::LocalsTimesLoops, factors)?;
                self.open(*blockty, Opening::Loop)
            }
            O::TryTable { try_table } => {
                let handlers = try_table.catches.len() as u64;
                self.tally.add(ModuleLimit::Blocks, handlers)?;
                self.open(try_table.ty, Opening::Block { handlers })
            }
            O::Else => {
                let values = self.labels.last().map_or(0, |label| label.values);
                self.part(values)
            }
            O::End => {
                self.labels.pop();
                Ok(())
            }
            O::Br { relative_depth } => self.carry(*relative_depth),
            O::Return => self.part(self.labels.first().map_or(0, |body| u64::from(body.carried))),
            O::BrIf { relative_depth }
            | O::BrOnNull { relative_depth }
            | O::BrOnNonNull { relative_depth }
            | O::BrOnCast { relative_depth, .. }
            | O::BrOnCastFail { relative_depth, .. }
            | O::BrOnCastDescEq { relative_depth, .. }
            | O::BrOnCastDescEqFail { relative_depth, .. } => self.carry(*relative_depth),
            O::BrTable { targets } => self.branch_table(targets),
            O::Call { function_index } | O::ReturnCall { function_index } => {
                self.call(self.indices.function(*function_index))
            }
            O::CallIndirect { type_index, .. }
            | O::ReturnCallIndirect { type_index, .. }
            | O::CallRef { type_index }
            | O::ReturnCallRef { type_index } => {
                self.tally.add(ModuleLimit::IndirectCalls, 1)?;
                self.call(self.indices.ty(*type_index))
            }
            O::Throw { tag_index } => self.call(self.indices.tag(*tag_index)),
            O::ThrowRef => self.call(Shape::default()),
            _ => self.reference(operator),
        }
    }

    /// Counts operators of references and those that call the host.
    fn reference(&mut self, operator: &Operator<'_>) -> Result<(), LimitExceeded> {
        use Operator as O;
        match operator {
            O::GlobalGet { global_index } if self.indices.is_reference(*global_index) => {
                self.give_reference()
            }
            O::TableGet { .. } => {
                self.tally.add(ModuleLimit::IndirectCalls, 1)?;
                self.give_reference()
            }
            O::StructNew { struct_type_index }
            | O::StructNewDefault { struct_type_index }
            | O::StructNewDesc { struct_type_index }
            | O::StructNewDefaultDesc { struct_type_index } => {
                self.pass(u64::from(self.indices.ty(*struct_type_index).params))?;
                self.give_reference()
            }
            O::ArrayNewFixed { array_size, .. } => {
                self.pass(u64::from(*array_size))?;
                self.give_reference()
            }
            O::StructGet { .. }
            | O::ArrayNew { .. }
            | O::ArrayNewDefault { .. }
            | O::ArrayNewData { .. }
            | O::ArrayNewElem { .. }
            | O::ArrayGet { .. }
            | O::RefCastNonNull { .. }
            | O::RefCastNullable { .. }
            | O::AnyConvertExtern
            | O::ExternConvertAny
            | O::RefI31 => self.give_reference(),
            O::StructSet { .. }
            | O::ArraySet { .. }
            | O::ArrayFill { .. }
            | O::ArrayCopy { .. }
            | O::ArrayInitData { .. }
            | O::ArrayInitElem { .. }
            | O::MemoryGrow { .. }
            | O::MemoryFill { .. }
            | O::MemoryCopy { .. }
            | O::MemoryInit { .. }
            | O::DataDrop { .. }
            | O::TableSet { .. }
            | O::TableGrow { .. }
            | O::TableFill { .. }
            | O::TableCopy { .. }
            | O::TableInit { .. }
            | O::ElemDrop { .. } => self.call(Shape::default()),
            _ => Ok(()),
        }
    }

    fn open(&mut self, ty: BlockType, opening: Opening) -> Result<(), LimitExceeded> {
        // The body's own label is not counted.
        self.tally.set(ModuleLimit::Nesting, self.labels.len() as u64)?;
        let shape = self.shape(ty);
        let values = shape.values();
        let (mut handlers, mut loops) =
            self.labels.last().map_or((0, 0), |label| (label.handlers, label.loops));
        let carried = match opening {
            Opening::Block { handlers: more } => {
                handlers += more;
                shape.results
            }
            Opening::Loop => {
                loops += 1;
                self.tally.set(ModuleLimit::LoopNesting, loops)?;
                shape.params
            }
        };
        self.labels.push(Label { carried, values, handlers, loops });
        self.part(values)
    }

    fn branch_table(&mut self, table: &BrTable<'_>) -> Result<(), LimitExceeded> {
        self.tally.add(ModuleLimit::BranchTargets, u64::from(table.len()) + 1)?;
        let mut values = self.carried(table.default());
        // A target that cannot be read was refused when the operator was.
        for depth in table.targets().flatten() {
            values = values.saturating_add(self.carried(depth));
        }
        self.part(values)
    }

    fn carry(&mut self, depth: u32) -> Result<(), LimitExceeded> {
        self.part(self.carried(depth))
    }

    /// How many values a branch carries to the block that is `depth` blocks out.
    fn carried(&self, depth: u32) -> u64 {
        let label = self.labels.iter().nth_back(depth as usize);
        label.map_or(0, |label| u64::from(label.carried))
    }

    /// Counts a place where control flow parts or meets, and the values that go through it.
    fn part(&mut self, values: u64) -> Result<(), LimitExceeded> {
        let tally = &mut *self.tally;
        tally.add(ModuleLimit::Blocks, 1)?;
        let locals = (ModuleLimit::Locals, ModuleLimit::Blocks);
        tally.multiply(ModuleLimit::LocalsTimesBlocks, locals)?;
        tally.add(ModuleLimit::BlockValues, values.saturating_sub(1))?;
        let passed = (ModuleLimit::BlockValues, ModuleLimit::Blocks);
        tally.multiply(ModuleLimit::BlockValuesTimesBlocks, passed)
    }

    fn call(&mut self, shape: Shape) -> Result<(), LimitExceeded> {
        self.calls += 1;
        self.references = self.references.saturating_add(u64::from(shape.given_references));
        self.pass(shape.values())?;
        let handlers = self.labels.last().map_or(0, |label| label.handlers);
        self.tally.add(ModuleLimit::HandledCalls, handlers)?;
        let product = self.references.saturating_mul(self.calls);
        self.tally.set(ModuleLimit::ReferencesTimesCalls, product)
    }

    /// Counts an operator that gives a reference and may collect garbage.
    fn give_reference(&mut self) -> Result<(), LimitExceeded> {
        self.references += 1;
        self.call(Shape::default())
    }

    fn pass(&mut self, values: u64) -> Result<(), LimitExceeded> {
        self.tally.add(ModuleLimit::PassedValues, values)
    }

    fn shape(&self, ty: BlockType) -> Shape {
        match ty {
            BlockType::Empty => Shape::default(),
            BlockType::Type(_) => Shape { results: 1, ..Shape::default() },
            BlockType::FuncType(index) => self.indices.ty(index),
        }
    }
}
