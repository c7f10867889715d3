//! What a module may have, and why not more.

macro_rules! limits {
    ($($(#[doc = $doc:literal])* $variant:ident $name:literal $maximum:literal $what:literal;)*) => {
        /// Something of which a module, or one of its functions, may have only so much.
        ///
        /// The figures behind the maxima are in `docs/decisions.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ModuleLimit {
            $($(#[doc = $doc])* $variant,)*
        }

        impl ModuleLimit {
            /// Every limit, those of the module first.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The limit's stable name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What is counted, in the plural.
            pub(crate) const fn what(self) -> &'static str {
                match self { $(Self::$variant => $what,)* }
            }

            const fn default_maximum(self) -> u64 {
                match self { $(Self::$variant => $maximum,)* }
            }
        }
    };
}

limits! {
    /// Types. The largest programs in languages with garbage collection have some ten thousand.
    Types "types" 100_000 "types";
    /// Parameters, results and fields, summed over the types: each is kept for the module's life.
    TypeElements "type_elements" 1_000_000 "parameters, results and fields of types";
    /// Imports. Dynamically linked programs import some ten thousand symbols.
    Imports "imports" 50_000 "imports";
    /// Functions that the module defines. Each has a fixed cost, even an empty one.
    Functions "functions" 100_000 "functions";
    /// Parameters and results, summed over the functions: code is made for each of them, and for
    /// exported functions once more.
    FunctionValues "function_values" 2_000_000 "parameters and results of functions";
    /// Globals. More do not fit into an instance.
    Globals "globals" 50_000 "globals";
    /// Tags of exceptions.
    Tags "tags" 10_000 "tags";
    /// Exports.
    Exports "exports" 50_000 "exports";
    /// Parameters and results, summed over the functions that are imported and exported: a
    /// description of the module writes each of them out.
    DescribedValues "described_values" 50_000 "parameters and results of imports and exports";
    /// Bytes in the names of imports and exports.
    NameBytes "name_bytes" 4_194_304 "bytes in the names of imports and exports";
    /// Operators in constant expressions beyond the first of each, summed: code that starts the
    /// instance is made of them, all in one function.
    ConstantOperators "constant_operators" 60_000 "operators in constant expressions";
    /// Segments of table elements.
    ElementSegments "element_segments" 10_000 "element segments";
    /// Table elements in segments. A call can have as many in its tables.
    Elements "elements" 100_000 "elements in segments";
    /// Segments of data. Go leaves out zeros, and so makes tens of thousands.
    DataSegments "data_segments" 100_000 "data segments";
    /// Bytes of the section that names functions, which are kept for backtraces.
    NameSectionBytes "name_section_bytes" 8_388_608 "bytes in name sections";
    /// Bytes of all custom sections; most are debugging information, which is not used.
    CustomBytes "custom_bytes" 33_554_432 "bytes in custom sections";

    /// Bytes of a function's body. Compiling straight code takes a hundred times as much memory, code
    /// that branches five hundred times.
    FunctionBytes "function_bytes" 1_048_576 "bytes in its body";
    /// Parameters and local variables of a function.
    Locals "locals" 50_000 "locals";
    /// Places where a function's control flow parts or meets: each begins a basic block.
    Blocks "blocks" 40_000 "blocks and conditional branches";
    /// Blocks inside each other. Interpreters' switches and Go's resume points nest thousands.
    Nesting "nesting" 10_000 "blocks inside each other";
    /// Targets of a function's branch tables.
    BranchTargets "branch_targets" 100_000 "targets of branch tables";
    /// Values that a function's calls take and give, and the fields of the structs that it makes: an
    /// instruction of two bytes can pass a thousand.
    PassedValues "passed_values" 200_000 "values passed by calls";
    /// Values beyond the first that each of a function's blocks takes and gives, or a branch carries:
    /// a block of three bytes can have two thousand. Compilers seldom make more than one.
    BlockValues "block_values" 100_000 "values passed by blocks and branches";
    /// The same times blocks: each may be live in all that follow.
    BlockValuesTimesBlocks "block_values_times_blocks" 50_000_000 "values passed by blocks and branches, times blocks";
    /// Locals times blocks: the compiler keeps a table of where each local has which value.
    LocalsTimesBlocks "locals_times_blocks" 50_000_000 "locals times blocks";
    /// Loops. Each has code of its own that lets a call be interrupted.
    Loops "loops" 5_000 "loops";
    /// Loops inside each other: analysing them takes time that grows faster than the square of their
    /// depth.
    LoopNesting "loop_nesting" 500 "loops inside each other";
    /// Locals times loops: each local may need a value of its own in each loop.
    LocalsTimesLoops "locals_times_loops" 5_000_000 "locals times loops";
    /// Calls through tables and of function references, and reads of tables.
    IndirectCalls "indirect_calls" 5_000 "indirect calls";
    /// Handlers of exceptions in scope, summed over a function's calls: each call lists them.
    HandledCalls "handled_calls" 20_000 "handlers in scope, summed over calls";
    /// Locals that are references and operators that give one, times the same and the calls: the
    /// compiler keeps each that lives across a call where the collector finds it, and that takes
    /// time and memory for each pair. All are taken to live at once, for want of something better.
    ReferencesTimesCalls "references_times_calls" 4_000_000 "references, times references and calls";
}

/// The most a module may have of each [`ModuleLimit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModuleLimits {
    maxima: [u64; ModuleLimit::ALL.len()],
}

impl ModuleLimits {
    /// The same maximum of everything.
    pub const fn of(maximum: u64) -> Self {
        Self { maxima: [maximum; ModuleLimit::ALL.len()] }
    }

    /// The most of one thing.
    pub const fn maximum(&self, limit: ModuleLimit) -> u64 {
        self.maxima[limit as usize]
    }

    /// The same limits but for one.
    #[must_use]
    pub const fn with(mut self, limit: ModuleLimit, maximum: u64) -> Self {
        self.maxima[limit as usize] = maximum;
        self
    }

    /// Each limit with its maximum.
    pub fn iter(&self) -> impl Iterator<Item = (ModuleLimit, u64)> {
        ModuleLimit::ALL.iter().copied().zip(self.maxima)
    }
}

impl Default for ModuleLimits {
    fn default() -> Self {
        Self { maxima: std::array::from_fn(|index| ModuleLimit::ALL[index].default_maximum()) }
    }
}
