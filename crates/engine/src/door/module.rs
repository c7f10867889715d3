//! The pass over a module's sections.

use wasmparser::{
    BinaryReaderError, CompositeInnerType, ConstExpr, DataKind, ElementItems, ElementKind, Export,
    ExternalKind, FuncType, Import, Parser, Payload, RecGroup, TableInit, TypeRef, ValType,
};

use super::Refusal;
use super::function::FunctionPass;
use super::limits::{ModuleLimit, ModuleLimits};
use super::tally::Tally;

/// How many values go in and come out of what a type describes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shape {
    /// A function's parameters, or a struct's fields.
    pub(super) params: u32,
    /// A function's results.
    pub(super) results: u32,
    /// Those of the parameters that are references.
    pub(super) taken_references: u32,
    /// Those of the results that are references.
    pub(super) given_references: u32,
}

impl Shape {
    fn function(ty: &FuncType) -> Self {
        let references = |types: &[ValType]| {
            // A type has at most a thousand of each.
            types.iter().filter(|ty| is_reference(ty)).count() as u32
        };
        Self {
            params: length(ty.params()),
            results: length(ty.results()),
            taken_references: references(ty.params()),
            given_references: references(ty.results()),
        }
    }

    /// Parameters and results.
    pub(super) fn values(self) -> u64 {
        u64::from(self.params) + u64::from(self.results)
    }
}

/// What bodies refer to by index. What is not there is the validator's to complain about.
#[derive(Debug, Default)]
pub(super) struct Indices {
    types: Vec<Shape>,
    /// Type indices, imported functions first.
    functions: Vec<u32>,
    /// Type indices, imported tags first.
    tags: Vec<u32>,
    /// Whether a global is a reference, imported globals first.
    globals: Vec<bool>,
}

impl Indices {
    pub(super) fn ty(&self, index: u32) -> Shape {
        self.types.get(index as usize).copied().unwrap_or_default()
    }

    pub(super) fn function(&self, index: u32) -> Shape {
        self.functions.get(index as usize).map_or_else(Shape::default, |ty| self.ty(*ty))
    }

    pub(super) fn tag(&self, index: u32) -> Shape {
        self.tags.get(index as usize).map_or_else(Shape::default, |ty| self.ty(*ty))
    }

    pub(super) fn is_reference(&self, global: u32) -> bool {
        self.globals.get(global as usize).copied().unwrap_or_default()
    }
}

/// One pass over one module.
#[derive(Debug)]
pub(super) struct Pass {
    tally: Tally,
    indices: Indices,
    imported_functions: u32,
    bodies: u32,
    function: FunctionPass,
}

impl Pass {
    pub(super) fn new(limits: &ModuleLimits, wasm: &[u8]) -> Self {
        Self {
            tally: Tally::new(limits, wasm),
            indices: Indices::default(),
            imported_functions: 0,
            bodies: 0,
            function: FunctionPass::default(),
        }
    }

    pub(super) fn read(mut self, wasm: &[u8]) -> Result<(), Refusal> {
        for payload in Parser::new(0).parse_all(wasm) {
            self.payload(payload?)?;
        }
        Ok(())
    }

    fn payload(&mut self, payload: Payload<'_>) -> Result<(), Refusal> {
        if let Some((_, range)) = payload.as_section() {
            self.tally.at(range.start);
        }
        match payload {
            Payload::TypeSection(section) => {
                for group in section.into_iter_with_offsets() {
                    let group = self.at(group)?;
                    self.types(group)?;
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports_with_offsets() {
                    let import = self.at(import)?;
                    self.import(import)?;
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section.into_iter_with_offsets() {
                    let ty = self.at(ty)?;
                    self.declare(ty)?;
                }
            }
            Payload::TableSection(section) => {
                for table in section.into_iter_with_offsets() {
                    if let TableInit::Expr(start) = self.at(table)?.init {
                        self.constant(&start)?;
                    }
                }
            }
            Payload::TagSection(section) => {
                for tag in section.into_iter_with_offsets() {
                    let tag = self.at(tag)?;
                    self.tally.add(ModuleLimit::Tags, 1)?;
                    self.indices.tags.push(tag.func_type_idx);
                }
            }
            Payload::GlobalSection(section) => {
                for global in section.into_iter_with_offsets() {
                    let global = self.at(global)?;
                    self.tally.add(ModuleLimit::Globals, 1)?;
                    self.indices.globals.push(is_reference(&global.ty.content_type));
                    self.constant(&global.init_expr)?;
                }
            }
            Payload::ExportSection(section) => {
                for export in section.into_iter_with_offsets() {
                    let export = self.at(export)?;
                    self.export(&export)?;
                }
            }
            Payload::ElementSection(section) => {
                for segment in section.into_iter_with_offsets() {
                    let segment = self.at(segment)?;
                    self.tally.add(ModuleLimit::ElementSegments, 1)?;
                    if let ElementKind::Active { offset_expr, .. } = &segment.kind {
                        self.constant(offset_expr)?;
                    }
                    self.elements(segment.items)?;
                }
            }
            Payload::DataCountSection { count, .. } => {
                self.tally.set(ModuleLimit::DataSegments, u64::from(count))?;
            }
            Payload::DataSection(section) => {
                self.tally.set(ModuleLimit::DataSegments, u64::from(section.count()))?;
                for segment in section.into_iter_with_offsets() {
                    if let DataKind::Active { offset_expr, .. } = self.at(segment)?.kind {
                        self.constant(&offset_expr)?;
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                let index = self.imported_functions.saturating_add(self.bodies);
                self.bodies = self.bodies.saturating_add(1);
                self.tally.enter(index);
                let shape = self.indices.function(index);
                self.function.read(shape, &body, &self.indices, &mut self.tally)?;
                self.tally.leave();
            }
            Payload::CustomSection(section) => {
                let bytes = section.data().len() as u64;
                self.tally.add(ModuleLimit::CustomBytes, bytes)?;
                if section.name() == "name" {
                    self.tally.add(ModuleLimit::NameSectionBytes, bytes)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// An item of a section, whose offset is that of what is counted next.
    fn at<T>(&mut self, item: Result<(usize, T), BinaryReaderError>) -> Result<T, Refusal> {
        let (offset, item) = item?;
        self.tally.at(offset);
        Ok(item)
    }

    fn types(&mut self, group: RecGroup) -> Result<(), Refusal> {
        for ty in group.into_types() {
            let shape = match ty.composite_type.inner {
                CompositeInnerType::Func(ty) => Shape::function(&ty),
                CompositeInnerType::Struct(ty) => {
                    Shape { params: length(&ty.fields), ..Shape::default() }
                }
                CompositeInnerType::Array(_) | CompositeInnerType::Cont(_) => Shape::default(),
            };
            self.tally.add(ModuleLimit::Types, 1)?;
            self.tally.add(ModuleLimit::TypeElements, shape.values())?;
            self.indices.types.push(shape);
        }
        Ok(())
    }

    fn import(&mut self, import: Import<'_>) -> Result<(), Refusal> {
        self.tally.add(ModuleLimit::Imports, 1)?;
        self.tally.add(ModuleLimit::NameBytes, (import.module.len() + import.name.len()) as u64)?;
        match import.ty {
            TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                self.imported_functions = self.imported_functions.saturating_add(1);
                self.indices.functions.push(ty);
                self.describe(self.indices.ty(ty))
            }
            TypeRef::Tag(tag) => {
                self.tally.add(ModuleLimit::Tags, 1)?;
                self.indices.tags.push(tag.func_type_idx);
                self.describe(self.indices.ty(tag.func_type_idx))
            }
            TypeRef::Global(global) => {
                self.tally.add(ModuleLimit::Globals, 1)?;
                self.indices.globals.push(is_reference(&global.content_type));
                Ok(())
            }
            TypeRef::Table(_) | TypeRef::Memory(_) => Ok(()),
        }
    }

    fn export(&mut self, export: &Export<'_>) -> Result<(), Refusal> {
        self.tally.add(ModuleLimit::Exports, 1)?;
        self.tally.add(ModuleLimit::NameBytes, export.name.len() as u64)?;
        match export.kind {
            ExternalKind::Func | ExternalKind::FuncExact => {
                self.describe(self.indices.function(export.index))
            }
            ExternalKind::Tag => self.describe(self.indices.tag(export.index)),
            ExternalKind::Table | ExternalKind::Memory | ExternalKind::Global => Ok(()),
        }
    }

    fn describe(&mut self, shape: Shape) -> Result<(), Refusal> {
        Ok(self.tally.add(ModuleLimit::DescribedValues, shape.values())?)
    }

    fn declare(&mut self, ty: u32) -> Result<(), Refusal> {
        self.tally.add(ModuleLimit::Functions, 1)?;
        self.tally.add(ModuleLimit::FunctionValues, self.indices.ty(ty).values())?;
        self.indices.functions.push(ty);
        Ok(())
    }

    fn elements(&mut self, items: ElementItems<'_>) -> Result<(), Refusal> {
        match items {
            ElementItems::Functions(functions) => {
                self.tally.add(ModuleLimit::Elements, u64::from(functions.count()))?;
            }
            ElementItems::Expressions(_, expressions) => {
                self.tally.add(ModuleLimit::Elements, u64::from(expressions.count()))?;
                for expression in expressions {
                    self.constant(&expression?)?;
                }
            }
        }
        Ok(())
    }

    fn constant(&mut self, expression: &ConstExpr<'_>) -> Result<(), Refusal> {
        let mut operators = expression.get_operators_reader();
        let mut count = 0u64;
        while !operators.eof() {
            operators.read()?;
            count += 1;
        }
        // One gives the value, the other ends the expression.
        Ok(self.tally.add(ModuleLimit::ConstantOperators, count.saturating_sub(2))?)
    }
}

/// Whether values of a type are references. Those to functions are not garbage-collected, but rare.
pub(super) fn is_reference(ty: &ValType) -> bool {
    matches!(ty, ValType::Ref(_))
}

fn length<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}
