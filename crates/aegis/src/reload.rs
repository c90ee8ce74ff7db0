//! Reading the configuration again while everything runs.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tracing::{info, warn};
use web::Views;

use crate::clock;
use crate::config::Config;

/// Reads the configuration as the start did.
type Load = Box<dyn Fn() -> anyhow::Result<Config> + Send + Sync>;

/// Holds the configuration in force. Whoever can follow a change subscribes to it.
pub(crate) struct Reloader {
    load: Load,
    configs: watch::Sender<Arc<Config>>,
    views: Views,
    /// One reload at a time.
    turn: Mutex<()>,
}

impl Reloader {
    /// `first` is in force.
    pub(crate) fn new(first: Config, views: Views, load: Load) -> Self {
        let reloader = Self { load, configs: watch::Sender::new(Arc::new(first)), views, turn: Mutex::default() };
        reloader.show(true);
        reloader
    }

    /// The configuration in force, now and later.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Config>> {
        self.configs.subscribe()
    }

    /// Reads the configuration again. One that is wrong changes nothing, and is told in words.
    ///
    /// Scraping follows, and whatever else subscribes; addresses, the store and what the control loop decides by stay
    /// as they were at the start.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        match (self.load)() {
            Ok(config) => {
                self.configs.send_replace(Arc::new(config));
                self.show(true);
                info!("configuration read again");
                Ok(())
            }
            Err(error) => {
                let error = format!("{error:#}");
                warn!(%error, "the configuration cannot be used; the one before stays in force");
                self.views.update(|view| view.config_is_valid = false);
                Err(error)
            }
        }
    }

    fn show(&self, is_valid: bool) {
        for section in &self.configs.borrow().ignored {
            warn!(section, "a section of the configuration is accepted and means nothing here");
        }
        let (yaml, external_labels) = {
            let config = self.configs.borrow();
            (config.shown.clone(), config.rules.surroundings.external_labels.clone())
        };
        self.views.update(|view| {
            view.config_yaml = yaml;
            view.external_labels = external_labels;
            view.config_loaded = Some(clock::now());
            view.config_is_valid = is_valid;
        });
    }
}
