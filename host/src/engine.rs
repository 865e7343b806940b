//! wasmtime, set up to run classifiers: a memory limit for every call, and a time limit where one is asked for.
//!
//! Code that a clock can interrupt looks at it in every round of a loop, and around that look no vector stays in a register: a text
//! takes half as long again. So there are two engines: one with a clock, for the endpoint and for classifiers with a time limit, and
//! one without, for classifiers that are known to end.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, StoreLimits, StoreLimitsBuilder, Trap,
};

use crate::bindings::{Classification, Description, Moderation, ModerationPre, Options};
use crate::{Artefact, Error, Loaded, cache};

/// How often running code looks whether its time is over.
const TICK: Duration = Duration::from_millis(10);
/// Longest time for an instance to start and to say what it is, whatever the limit for calls.
const START_MS_MAX: u64 = 10_000;
/// Largest linear memory that the pool makes room for.
const MEMORY_MIB_MAX: u64 = 1024;

/// What an instance may use.
#[derive(Debug, Clone, Copy)]
pub struct RuntimeLimits {
    /// Longest time of one call, in milliseconds. Without one a call cannot be interrupted, and takes about two thirds of the time: for
    /// artefacts that are trusted as this program is, whose work is bounded by texts, bytes and tokens.
    pub call_ms_max: Option<u64>,
    /// Largest linear memory of one instance, in MiB; at most 1024.
    pub memory_mib_max: u64,
    /// Most instances of a classifier at one time.
    pub instances_max: u32,
    /// Most instances of the endpoint component at one time.
    pub endpoints_max: u32,
}

impl Default for RuntimeLimits {
    fn default() -> Self {
        Self { call_ms_max: Some(30_000), memory_mib_max: 256, instances_max: 64, endpoints_max: 0 }
    }
}

/// The engines and their limits; one a process.
#[derive(Debug, Clone)]
pub struct Runtime {
    /// With a clock.
    timed: Engine,
    /// What classifiers run in: the same, or one without a clock.
    classifiers: Engine,
    limits: RuntimeLimits,
}

impl Runtime {
    /// Sets wasmtime up and starts the clock of the time limits.
    pub fn new(limits: RuntimeLimits) -> Result<Self, Error> {
        let engine =
            |config: &Config| Engine::new(config).map_err(|e| Error::Fault(format!("wasmtime does not start: {e:#}")));
        let (timed, classifiers) = if limits.call_ms_max.is_some() {
            let engine = engine(&config(limits.memory_mib_max, limits.instances_max, limits.endpoints_max, true))?;
            (engine.clone(), engine)
        } else {
            let timed = config(limits.memory_mib_max, 0, limits.endpoints_max, true);
            (engine(&timed)?, engine(&config(limits.memory_mib_max, limits.instances_max, 0, false))?)
        };
        let weak = timed.weak();
        let clock = move || {
            while let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(TICK);
            }
        };
        std::thread::Builder::new()
            .name("epoch".into())
            .spawn(clock)
            .map_err(|e| Error::Fault(format!("no thread for the time limits: {e}")))?;
        Ok(Self { timed, classifiers, limits })
    }

    /// wasmtime's engine, for the endpoint component.
    pub(crate) fn engine(&self) -> &Engine {
        &self.timed
    }

    /// Whether [`Runtime::load`] will find the artefact compiled, and take milliseconds instead of seconds.
    pub fn is_compiled(&self, artefact: &Artefact) -> bool {
        cache::holds(&self.classifiers, &artefact.anatomy.sha256)
    }

    /// Loads an artefact: from the cache of compiled code, or by compiling it (seconds).
    pub fn load(&self, artefact: &Artefact) -> Result<Loaded, Error> {
        if artefact.anatomy.sizes.memory > self.limits.memory_mib_max << 20 {
            return Err(Error::Memory { limit_mib: self.limits.memory_mib_max });
        }
        let component = cache::compiled(&self.classifiers, &artefact.path, &artefact.anatomy.sha256, &artefact.bytes)?;
        let cannot_link = |e: wasmtime::Error| Error::NotAnArtefact {
            path: artefact.path.clone(),
            problem: format!("wants imports, and a classifier gets none: {e:#}"),
        };
        let pre = Linker::new(&self.classifiers).instantiate_pre(&component).map_err(cannot_link)?;
        let pre = ModerationPre::new(pre).map_err(|e| Error::NotAnArtefact {
            path: artefact.path.clone(),
            problem: format!("its contract has another shape than this host's of the same version: {e:#}"),
        })?;
        Ok(Component { pre: Arc::new(pre), limits: self.limits }.into())
    }
}

fn config(memory_mib_max: u64, classifiers: u32, endpoints: u32, clock: bool) -> Config {
    let mut pool = PoolingAllocationConfig::default();
    let memory_bytes = usize::try_from(memory_mib_max.min(MEMORY_MIB_MAX) << 20).unwrap_or(usize::MAX);
    // An endpoint is one module with a memory, and two small ones that join it to its imports.
    pool.total_component_instances(classifiers.saturating_add(endpoints))
        .total_core_instances(classifiers.saturating_add(endpoints.saturating_mul(4)))
        .total_memories(classifiers.saturating_add(endpoints))
        .total_tables(classifiers.saturating_add(endpoints).saturating_mul(2))
        .total_stacks(endpoints)
        .max_memories_per_component(1)
        .max_memory_size(memory_bytes)
        .table_elements(100_000);
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // Its results differ between processors for some operands. Our engine has two of its operators, the dot products of
        // bytes, and what becomes a score has a second factor in 7 bits, where they do not differ
        // (`crates/encoder/src/kernel/wasm.rs`); `cargo xtask test` finds any other operator in our builds. Components of others
        // may have them: `palisade inspect` tells.
        .wasm_relaxed_simd(true)
        .wasm_backtrace_max_frames(None) // messages tell enough, and the address map doubles the compiled file
        .generate_address_map(false)
        .epoch_interruption(clock)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_guaranteed_dense_image_size(MEMORY_MIB_MAX << 20); // a release is larger than the default 16 MiB
    config
}

/// A compiled component, ready to be instantiated, on any thread.
#[derive(Clone)]
pub(crate) struct Component {
    pre: Arc<ModerationPre<StoreLimits>>,
    limits: RuntimeLimits,
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Component {
    /// A fresh instance: microseconds, for the release is in its memory image.
    pub(crate) fn instantiate(&self) -> Result<ComponentInstance, Error> {
        let memory_bytes = usize::try_from(self.limits.memory_mib_max << 20).unwrap_or(usize::MAX);
        let limits = StoreLimitsBuilder::new().memory_size(memory_bytes).trap_on_grow_failure(true).build();
        let mut store = Store::new(self.pre.engine(), limits);
        store.limiter(|limits| limits);
        store.set_epoch_deadline(ticks(START_MS_MAX));
        let moderation = self.pre.instantiate(&mut store).map_err(|e| self.fault(&e, START_MS_MAX))?;
        Ok(ComponentInstance { store, moderation, component: self.clone() })
    }

    fn fault(&self, error: &wasmtime::Error, limit_ms: u64) -> Error {
        if matches!(error.downcast_ref(), Some(Trap::Interrupt)) {
            return Error::Deadline { limit_ms };
        }
        let message = format!("{error:#}");
        if message.contains("growing memory") || message.contains("memory minimum size") {
            return Error::Memory { limit_mib: self.limits.memory_mib_max };
        }
        Error::Fault(message)
    }
}

/// Ticks of the clock that cover a time.
pub(crate) fn ticks(ms: u64) -> u64 {
    ms.div_ceil(TICK.as_millis().try_into().unwrap_or(1)).saturating_add(1)
}

/// One instance of a component, for one thread. After an error other than [`Error::Refused`] it must not be used again.
pub(crate) struct ComponentInstance {
    store: Store<StoreLimits>,
    moderation: Moderation,
    component: Component,
}

impl std::fmt::Debug for ComponentInstance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ComponentInstance").finish_non_exhaustive()
    }
}

impl ComponentInstance {
    /// The release inside, its labels and limits.
    pub(crate) fn describe(&mut self) -> Result<Description, Error> {
        self.store.set_epoch_deadline(ticks(START_MS_MAX));
        let answer = self.moderation.palisade_moderation_classifier().call_describe(&mut self.store);
        answer.map_err(|e| self.component.fault(&e, START_MS_MAX))?.map_err(Error::Refused)
    }

    /// Scores a batch of texts.
    pub(crate) fn classify<T: AsRef<str>>(&mut self, texts: &[T], options: &Options) -> Result<Classification, Error> {
        let limit_ms = self.component.limits.call_ms_max.unwrap_or(u64::MAX);
        self.store.set_epoch_deadline(ticks(limit_ms));
        let texts: Vec<String> = texts.iter().map(|text| text.as_ref().to_owned()).collect();
        let answer = self.moderation.palisade_moderation_classifier().call_classify(&mut self.store, &texts, options);
        answer.map_err(|e| self.component.fault(&e, limit_ms))?.map_err(Error::Refused)
    }
}
