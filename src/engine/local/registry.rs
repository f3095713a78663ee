//! The loaded models and adapters, who plays which part, and a scoring pass over them.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::adapter::{Adapter, is_adapter};
use super::cache::CacheBudget;
use super::checkpoint::{Checkpoint, resolve};
use super::decoder::{Decoder, Question, Sequence, State};
use super::generate::{Generate, Generator, Order};
use super::queue::Item;
use crate::domain::model::{ModelInfo, ModelKind, ModelRef, PerModel, Role, Roles};
use crate::domain::score::{Normalizer, TokenScore};
use crate::engine::error::EngineError;
use crate::engine::{AdapterSource, ScoredResponse, Scorers, TextCodec};

/// What the engine needs of a registry, whichever device it is for.
pub(crate) trait ModelSet: Send + Sync + 'static {
    fn models(&self) -> Vec<ModelInfo>;
    fn roles(&self) -> Roles;
    fn set_roles(&self, roles: Roles) -> Result<(), EngineError>;
    /// Reads and checks an adapter and lays it out. Slow; not for an async thread.
    fn load_adapter(&self, source: &AdapterSource) -> Result<ModelInfo, EngineError>;
    fn unload_adapter(&self, id: &str) -> Result<(), EngineError>;
    /// Scores trajectories together and hands in each one's result.
    fn score(&self, items: Vec<Item>);
    /// Tokens of trajectories that should share a pass.
    fn tokens_per_pass(&self) -> usize;
    /// The model that a name stands for: a model's id, or a role.
    fn find(&self, name: &str) -> Result<ModelRef, EngineError>;
    /// The longest trajectory that these can score.
    fn scored_context(&self, scorers: &Scorers) -> Result<usize, EngineError>;
    /// What an order's model can hold, and what the order takes of it.
    fn limits(&self, order: &Order) -> Result<Limits, EngineError>;
    /// What generates with these models.
    fn generator(self: Arc<Self>, codec: TextCodec, budget: Arc<CacheBudget>, rows: usize) -> Box<dyn Generate>;
}

/// The limits of a generation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_context: usize,
    /// See [`Order::needs`].
    pub(crate) needs: [usize; 2],
}

/// A model or an adapter over the base, ready to play a part.
pub(crate) struct Player<D: Decoder> {
    pub(crate) info: ModelInfo,
    pub(crate) model: Arc<D>,
    pub(crate) adapter: Option<Arc<D::Adapter>>,
}

impl<D: Decoder> Player<D> {
    fn reference(&self) -> ModelRef {
        ModelRef { id: self.info.id.clone(), sha256: self.info.sha256.clone() }
    }
}

/// The players, in the order of loading, and those that have a role.
struct Cast<D: Decoder> {
    players: Vec<Arc<Player<D>>>,
    positive: Option<Arc<Player<D>>>,
    negative: Option<Arc<Player<D>>>,
}

/// Models of one device.
pub(crate) struct Registry<D: Decoder> {
    place: D::Place,
    /// The base's tokenizer, which every other whole model must share.
    text: TextCodec,
    cast: RwLock<Cast<D>>,
}

impl<D: Decoder> Registry<D> {
    /// Lays out the base, and the positive and the negative model if they are given.
    pub(crate) fn load(
        base: &Checkpoint,
        roles: [(Role, Option<&str>); 2],
        place: D::Place,
    ) -> Result<Self, EngineError> {
        let text = base.text.clone();
        let base = Arc::new(Self::load_checkpoint(base, base.id.clone(), &place)?);
        let mut registry =
            Self { place, text, cast: RwLock::new(Cast { players: vec![base], positive: None, negative: None }) };
        for (role, source) in roles {
            if let Some(source) = source {
                registry.load_role(role, source)?;
            }
        }
        Ok(registry)
    }

    fn load_checkpoint(checkpoint: &Checkpoint, id: String, place: &D::Place) -> Result<Player<D>, EngineError> {
        // Hashing reads the files while the weights are laid out; both are waited for.
        let (sha256, model) = std::thread::scope(|scope| {
            let hash = scope.spawn(|| checkpoint.sha256());
            let model = D::load(checkpoint, place);
            (hash.join(), model)
        });
        let sha256 = sha256.map_err(|_| EngineError::Internal("hashing the weights panicked".to_owned()))??;
        let model = model?;
        let info = ModelInfo {
            id,
            roles: vec![],
            kind: ModelKind::Checkpoint,
            architecture: checkpoint.config.architecture.name().to_owned(),
            parameters: checkpoint.parameters(),
            memory_bytes: model.memory(),
            dtype: D::dtype(checkpoint, place),
            device: D::device(place),
            sha256,
            max_context: checkpoint.config.max_context,
            created: now(),
        };
        Ok(Player { info, model: Arc::new(model), adapter: None })
    }

    /// Loads the positive or the negative model: an adapter, or a whole model with the base's tokenizer.
    fn load_role(&mut self, role: Role, source: &str) -> Result<(), EngineError> {
        let path = std::path::PathBuf::from(source);
        let name = path.file_name().map_or(source.to_owned(), |name| name.to_string_lossy().into_owned());
        let id = self.free_name(&name);
        let player = if is_adapter(&path) {
            self.read_adapter(&AdapterSource { id, path })?
        } else {
            let checkpoint = Checkpoint::open(&resolve(source)?)?;
            let sizes = [self.base().model.config().vocab_size, checkpoint.config.vocab_size];
            if sizes[0] != sizes[1] || !checkpoint.text.same_vocabulary(&self.text) {
                return Err(EngineError::Load(format!(
                    "the {} model {source} has another tokenizer than the base (vocabularies of {} and {}): models \
                     are compared token by token",
                    role.name(),
                    sizes[1],
                    sizes[0]
                )));
            }
            Self::load_checkpoint(&checkpoint, id, &self.place)?
        };
        let player = Arc::new(player);
        let mut cast = self.write();
        cast.players.push(player.clone());
        match role {
            Role::Positive => cast.positive = Some(player),
            Role::Negative => cast.negative = Some(player),
            Role::Base => return Err(EngineError::Internal("the base is loaded first".to_owned())),
        }
        Ok(())
    }

    /// `name`, or `name-2` and so on where it is taken: two folders may end alike.
    fn free_name(&self, name: &str) -> String {
        let cast = self.read();
        let taken = |id: &str| cast.players.iter().any(|player| player.info.id == id);
        if !taken(name) {
            return name.to_owned();
        }
        (2..).map(|number| format!("{name}-{number}")).find(|id| !taken(id)).unwrap_or_default()
    }

    fn read_adapter(&self, source: &AdapterSource) -> Result<Player<D>, EngineError> {
        let base = self.base();
        let adapter = Adapter::open(&source.path, base.model.config())?;
        let laid_out = base.model.adapter(&adapter)?;
        let info = ModelInfo {
            id: source.id.clone(),
            roles: vec![],
            kind: ModelKind::Adapter,
            parameters: adapter.parameters,
            memory_bytes: D::adapter_memory(&laid_out),
            sha256: adapter.sha256.clone(),
            created: now(),
            dtype: "f32".to_owned(),
            ..base.info.clone()
        };
        Ok(Player { info, model: base.model.clone(), adapter: Some(Arc::new(laid_out)) })
    }

    fn base(&self) -> Arc<Player<D>> {
        self.read().players[0].clone()
    }

    fn read(&self) -> RwLockReadGuard<'_, Cast<D>> {
        self.cast.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Cast<D>> {
        self.cast.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The player that a reference was made of, if it is still loaded.
    pub(crate) fn player(&self, model: &ModelRef) -> Option<Arc<Player<D>>> {
        self.read().players.iter().find(|player| player.reference() == *model).cloned()
    }

    /// The player with this id, or else with the role of this name.
    fn named(&self, name: &str) -> Result<Arc<Player<D>>, EngineError> {
        let cast = self.read();
        let found = cast.players.iter().find(|player| player.info.id == name).or(match name {
            "base" => cast.players.first(),
            "positive" => cast.positive.as_ref(),
            "negative" => cast.negative.as_ref(),
            _ => None,
        });
        found.cloned().ok_or_else(|| EngineError::UnknownModel { id: name.to_owned() })
    }

    /// Who scores, as it is now, held for a pass.
    fn scoring(&self, scorers: &Scorers) -> Result<PerModel<Arc<Player<D>>>, EngineError> {
        match scorers {
            Scorers::Roles => {
                let cast = self.read();
                let (positive, negative) = (cast.positive.clone(), cast.negative.clone());
                Ok(PerModel { base: cast.players[0].clone(), positive, negative })
            }
            Scorers::Alone(name) => Ok(PerModel { base: self.named(name)?, positive: None, negative: None }),
            Scorers::Named(PerModel { base, positive, negative }) => {
                let named = |name: &Option<String>| name.as_deref().map(|name| self.named(name)).transpose();
                Ok(PerModel { base: self.named(base)?, positive: named(positive)?, negative: named(negative)? })
            }
        }
    }
}

impl<D: Decoder> ModelSet for Registry<D> {
    fn models(&self) -> Vec<ModelInfo> {
        let cast = self.read();
        let plays = |player: &Arc<Player<D>>, part: &Option<Arc<Player<D>>>| {
            part.as_ref().is_some_and(|part| Arc::ptr_eq(part, player))
        };
        cast.players
            .iter()
            .enumerate()
            .map(|(index, player)| {
                let mut info = player.info.clone();
                info.roles.extend((index == 0).then_some(Role::Base));
                info.roles.extend(plays(player, &cast.positive).then_some(Role::Positive));
                info.roles.extend(plays(player, &cast.negative).then_some(Role::Negative));
                info
            })
            .collect()
    }

    fn roles(&self) -> Roles {
        let cast = self.read();
        let id = |part: &Option<Arc<Player<D>>>| part.as_ref().map(|player| player.info.id.clone());
        Roles { positive: id(&cast.positive), negative: id(&cast.negative) }
    }

    fn set_roles(&self, roles: Roles) -> Result<(), EngineError> {
        let mut cast = self.write();
        let find = |id: Option<String>| {
            id.map(|id| {
                let player = cast.players.iter().find(|player| player.info.id == id).cloned();
                player.ok_or(EngineError::UnknownModel { id })
            })
            .transpose()
        };
        let (positive, negative) = (find(roles.positive)?, find(roles.negative)?);
        cast.positive = positive;
        cast.negative = negative;
        Ok(())
    }

    fn load_adapter(&self, source: &AdapterSource) -> Result<ModelInfo, EngineError> {
        let taken = |cast: &Cast<D>| cast.players.iter().any(|player| player.info.id == source.id);
        if taken(&self.read()) {
            return Err(EngineError::NameTaken { id: source.id.clone() });
        }
        let player = Arc::new(self.read_adapter(source)?);
        let mut cast = self.write();
        if taken(&cast) {
            return Err(EngineError::NameTaken { id: source.id.clone() });
        }
        cast.players.push(player.clone());
        Ok(player.info.clone())
    }

    fn unload_adapter(&self, id: &str) -> Result<(), EngineError> {
        let mut cast = self.write();
        let index = cast.players.iter().position(|player| player.info.id == id);
        let index = index.ok_or_else(|| EngineError::UnknownModel { id: id.to_owned() })?;
        let player = &cast.players[index];
        if player.info.kind != ModelKind::Adapter {
            return Err(EngineError::NotAnAdapter { id: id.to_owned() });
        }
        for (role, part) in [(Role::Positive, &cast.positive), (Role::Negative, &cast.negative)] {
            if part.as_ref().is_some_and(|part| Arc::ptr_eq(part, player)) {
                return Err(EngineError::AdapterInUse { id: id.to_owned(), role });
            }
        }
        cast.players.remove(index);
        Ok(())
    }

    fn score(&self, items: Vec<Item>) {
        let mut rest = items;
        while let Some(scorers) = rest.first().map(|item| item.request().scorers.clone()) {
            let (together, others): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|item| item.request().scorers == scorers);
            rest = others;
            match self.scoring(&scorers) {
                Ok(players) => Pass { players }.run(together),
                Err(error) => together.into_iter().for_each(|item| item.finish(Err(error.clone()))),
            }
        }
    }

    fn tokens_per_pass(&self) -> usize {
        D::rows_per_pass(&self.place) / 3
    }

    fn find(&self, name: &str) -> Result<ModelRef, EngineError> {
        Ok(self.named(name)?.reference())
    }

    fn scored_context(&self, scorers: &Scorers) -> Result<usize, EngineError> {
        match scorers {
            // Roles may be given to others before the trajectory's turn comes.
            Scorers::Roles => Ok(self.read().players.iter().map(|player| player.info.max_context).min().unwrap_or(0)),
            Scorers::Alone(_) | Scorers::Named(_) => {
                let PerModel { base, positive, negative } = self.scoring(scorers)?;
                let context = |player: Arc<Player<D>>| player.info.max_context;
                Ok([positive, negative].into_iter().flatten().map(context).fold(base.info.max_context, usize::min))
            }
        }
    }

    fn limits(&self, order: &Order) -> Result<Limits, EngineError> {
        let player =
            self.player(&order.model).ok_or_else(|| EngineError::UnknownModel { id: order.model.id.clone() })?;
        let empty = player.model.cache(&CacheBudget::new(0));
        Ok(Limits { max_context: player.info.max_context, needs: order.needs(&empty) })
    }

    fn generator(self: Arc<Self>, codec: TextCodec, budget: Arc<CacheBudget>, rows: usize) -> Box<dyn Generate> {
        Box::new(Generator::new(self, codec, budget, rows))
    }
}

/// A player with its hidden states, one entry a trajectory of the pass.
type States<D> = (Arc<Player<D>>, Vec<<D as Decoder>::Hidden>);

/// One pass: trajectories that share the reading of the weights.
struct Pass<D: Decoder> {
    players: PerModel<Arc<Player<D>>>,
}

impl<D: Decoder> Pass<D> {
    fn run(&self, items: Vec<Item>) {
        let started = Instant::now();
        let states = match self.forward(&items) {
            Ok(states) => states,
            Err(error) => return items.into_iter().for_each(|item| item.finish(Err(error.clone()))),
        };
        let forward_ms = started.elapsed().as_secs_f64() * 1e3;
        let tokens: usize = items.iter().map(|item| item.request().token_ids.len()).sum();
        for (index, item) in items.into_iter().enumerate() {
            let started = Instant::now();
            let share = item.request().token_ids.len() as f64 / tokens as f64;
            let result = self.positions(&states, index, &item).map(|tokens| ScoredResponse {
                tokens,
                models: PerModel {
                    base: self.players.base.reference(),
                    positive: self.players.positive.as_ref().map(|player| player.reference()),
                    negative: self.players.negative.as_ref().map(|player| player.reference()),
                },
                normalizer: Normalizer::Exact,
                queue_ms: item.queue_ms,
                compute_ms: forward_ms * share + started.elapsed().as_secs_f64() * 1e3,
            });
            item.finish(result);
        }
    }

    /// Every role's hidden states, by distinct player; a player with two roles is computed once, and all players over
    /// the same weights share one forward pass.
    fn forward(&self, items: &[Item]) -> Result<Vec<States<D>>, EngineError> {
        let stop = || items.iter().all(Item::gone);
        let mut distinct: Vec<Arc<Player<D>>> = Vec::new();
        for player in [Some(&self.players.base), self.players.positive.as_ref(), self.players.negative.as_ref()] {
            if let Some(player) = player.filter(|player| !distinct.iter().any(|other| Arc::ptr_eq(other, player))) {
                distinct.push(player.clone());
            }
        }
        let mut states = Vec::with_capacity(distinct.len());
        while let Some(first) = distinct.first().cloned() {
            let (together, rest) = distinct.into_iter().partition(|player| Arc::ptr_eq(&player.model, &first.model));
            distinct = rest;
            let together: Vec<Arc<Player<D>>> = together;
            let sequences: Vec<Sequence<'_, D::Adapter>> = together
                .iter()
                .flat_map(|player| items.iter().map(move |item| (player, item)))
                .map(|(player, item)| {
                    let request = item.request();
                    let last = request.token_ids.len() - 1;
                    Sequence {
                        tokens: &request.token_ids[..last],
                        adapter: player.adapter.as_deref(),
                        keep: request.response_start - 1..last,
                    }
                })
                .collect();
            let mut hidden = first.model.forward(&sequences, &stop)?.into_iter();
            for player in &together {
                states.push((player.clone(), hidden.by_ref().take(items.len()).collect()));
            }
        }
        Ok(states)
    }

    fn positions(&self, states: &[States<D>], index: usize, item: &Item) -> Result<Vec<TokenScore>, EngineError> {
        let request = item.request();
        let state = |player: &Arc<Player<D>>| {
            let found = states.iter().find(|(other, _)| Arc::ptr_eq(other, player));
            let (player, hidden) =
                found.ok_or_else(|| EngineError::Internal("a role was not part of the pass".to_owned()))?;
            Ok::<_, EngineError>(State {
                model: &*player.model,
                adapter: player.adapter.as_deref(),
                hidden: &hidden[index],
            })
        };
        let models = PerModel {
            base: state(&self.players.base)?,
            positive: self.players.positive.as_ref().map(state).transpose()?,
            negative: self.players.negative.as_ref().map(state).transpose()?,
        };
        let question = Question {
            targets: &request.token_ids[request.response_start..],
            beta: request.beta,
            top: request.top,
            watch: &request.watch,
        };
        D::score(&models, question, &|| item.gone())
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs() as i64)
}
