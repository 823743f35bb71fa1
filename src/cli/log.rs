//! Where log lines go: to standard error when asked for, and from INFO on to the log file.
//!
//! A run is silent by default, but under ssh standard error may be `/dev/null`, so failures and resumes (INFO) are kept
//! in a file. Other crates' DEBUG and TRACE carry frames and headers, that is payload and tokens: nothing lifts them
//! above INFO. A log that cannot be written is given up in silence; it never fails a session.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};
use std::process;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Color, LogSettings, Verbosity};

use super::log_file::LogFile;
use super::stderr::Stderr;
use crate::escape::escape;

/// Our own crates, the first part of a target.
const OURS: [&str; 2] = ["fumidai", "fumidai_sim"];

/// Other crates' DEBUG and TRACE carry payload and tokens.
const CEILING_OF_OTHERS: LevelFilter = LevelFilter::INFO;

/// Starts the log of this process; a second call changes nothing.
pub(super) fn start(settings: &LogSettings, color: Color) {
    let has_color = color.is_on(io::stderr().is_terminal());
    let _ = subscriber(settings, has_color, || Stderr).try_init();
}

fn subscriber<W>(settings: &LogSettings, has_color: bool, stderr: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    // The layers would tell of a failed write on standard error, with a macro that panics when that is closed.
    let to_stderr = layer()
        .event_format(Line { has_color })
        .log_internal_errors(false)
        .with_writer(stderr)
        .with_filter(Levels::of_stderr(settings).into_filter());
    let to_file = settings.file.clone().map(|path| {
        layer()
            .event_format(Line { has_color: false })
            .log_internal_errors(false)
            .with_writer(LogFile::new(path))
            .with_filter(Levels::of_file(settings).into_filter())
    });
    tracing_subscriber::registry().with(to_stderr).with(to_file)
}

/// Which lines one destination takes.
#[derive(Clone)]
struct Levels {
    ours: LevelFilter,
    others: LevelFilter,
    rust_log: Option<Targets>,
}

impl Levels {
    fn of_stderr(settings: &LogSettings) -> Self {
        let (ours, others) = match settings.verbosity {
            Verbosity::Quiet => {
                return Self { ours: LevelFilter::OFF, others: LevelFilter::OFF, rust_log: None };
            }
            Verbosity::Normal => (LevelFilter::OFF, LevelFilter::OFF),
            Verbosity::Info => (LevelFilter::INFO, LevelFilter::WARN),
            Verbosity::Debug => (LevelFilter::DEBUG, LevelFilter::WARN),
            Verbosity::Trace => (LevelFilter::TRACE, LevelFilter::WARN),
        };
        Self { ours, others, rust_log: rust_log(settings) }
    }

    fn of_file(settings: &LogSettings) -> Self {
        let ours = match settings.verbosity {
            Verbosity::Quiet | Verbosity::Normal | Verbosity::Info => LevelFilter::INFO,
            Verbosity::Debug => LevelFilter::DEBUG,
            Verbosity::Trace => LevelFilter::TRACE,
        };
        Self { ours, others: LevelFilter::WARN, rust_log: rust_log(settings) }
    }

    /// `RUST_LOG` adds to what `-v` asks for and never takes away.
    fn allows(&self, target: &str, level: Level) -> bool {
        let is_ours = target.split("::").next().is_some_and(|root| OURS.contains(&root));
        let (base, ceiling) =
            if is_ours { (self.ours, LevelFilter::TRACE) } else { (self.others, CEILING_OF_OTHERS) };
        let is_lifted = self.rust_log.as_ref().is_some_and(|targets| targets.would_enable(target, &level));
        (level <= base || is_lifted) && level <= ceiling
    }

    /// What no line exceeds lets `tracing` skip the rest at once.
    fn most(&self) -> LevelFilter {
        let lifted = self.rust_log.iter().flat_map(|targets| {
            let default = targets.default_level();
            targets.iter().map(|(_, level)| level).chain(default)
        });
        lifted.chain([self.ours, self.others]).max().unwrap_or(LevelFilter::OFF)
    }

    fn into_filter(self) -> FilterFn<impl Fn(&tracing::Metadata<'_>) -> bool> {
        let most = self.most();
        FilterFn::new(move |line| self.allows(line.target(), *line.level())).with_max_level_hint(most)
    }
}

/// Directives that are not understood are as good as none.
fn rust_log(settings: &LogSettings) -> Option<Targets> {
    settings.rust_log.as_ref()?.parse().ok()
}

/// The most bytes of text in a line: parts of it may come from the network.
const LONGEST_LINE: usize = 8 << 10;

/// The form of a line: time, process id, level, spans, target, text. It is one line whatever the text holds.
struct Line {
    has_color: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        write_spans(context, &mut text)?;
        write!(text, "{}: ", event.metadata().target())?;
        context.field_format().format_fields(Writer::new(&mut text), event)?;
        SystemTime.format_time(&mut writer)?;
        let level = level_name(*event.metadata().level(), self.has_color);
        writeln!(writer, " {} {level} {}", process::id(), escape(cut(text.trim_end())))
    }
}

/// Returns the text, or as much of it as a line may have.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_LINE)]
}

fn write_spans<S, N>(context: &FmtContext<'_, S, N>, text: &mut String) -> fmt::Result
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
        text.write_str(span.name())?;
        if let Some(fields) = span.extensions().get::<FormattedFields<N>>().filter(|it| !it.is_empty()) {
            write!(text, "{{{fields}}}")?;
        }
        text.write_str(": ")?;
    }
    Ok(())
}

fn level_name(level: Level, has_color: bool) -> String {
    let color = match level {
        Level::ERROR => "31",
        Level::WARN => "33",
        Level::INFO => "32",
        Level::DEBUG => "34",
        Level::TRACE => "35",
    };
    if has_color { format!("\x1b[{color}m{level:>5}\x1b[0m") } else { format!("{level:>5}") }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use tracing::subscriber::with_default;

    use super::*;

    fn settings(verbosity: Verbosity, rust_log: Option<&str>, file: Option<PathBuf>) -> LogSettings {
        LogSettings { file, verbosity, rust_log: rust_log.map(str::to_owned) }
    }

    /// What standard error and the file get of these settings.
    fn logged(verbosity: Verbosity, rust_log: Option<&str>, body: impl FnOnce()) -> (String, String) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("fumidai.log");
        let stderr = folder.path().join("stderr");
        let settings = settings(verbosity, rust_log, Some(file.clone()));
        with_default(subscriber(&settings, false, LogFile::new(stderr.clone())), body);
        let [stderr, file] = [stderr, file].map(|path| fs::read_to_string(path).unwrap_or_default());
        (stderr, file)
    }

    #[test]
    fn our_levels_follow_the_flags() {
        for (verbosity, on_stderr, in_file) in [
            (Verbosity::Quiet, None, Level::INFO),
            (Verbosity::Normal, None, Level::INFO),
            (Verbosity::Info, Some(Level::INFO), Level::INFO),
            (Verbosity::Debug, Some(Level::DEBUG), Level::DEBUG),
            (Verbosity::Trace, Some(Level::TRACE), Level::TRACE),
        ] {
            let settings = settings(verbosity, None, None);
            for level in [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE] {
                let stderr = Levels::of_stderr(&settings).allows("fumidai::session", level);
                assert_eq!(stderr, on_stderr.is_some_and(|most| level <= most), "{verbosity:?} {level}");
                let file = Levels::of_file(&settings).allows("fumidai", level);
                assert_eq!(file, level <= in_file, "{verbosity:?} {level}");
            }
        }
    }

    #[test]
    fn nothing_lifts_other_crates_above_info() {
        let every = settings(Verbosity::Trace, Some("trace,hyper=trace,russh=debug"), None);
        for levels in [Levels::of_stderr(&every), Levels::of_file(&every)] {
            for target in [
                "aws_config::profile",
                "aws_smithy_runtime::client",
                "hyper::proto",
                "hyper_util::client",
                "h2::codec",
                "rustls::client",
                "tokio_rustls",
                "tungstenite::protocol",
                "tokio_tungstenite",
                "russh::client",
                "fumidai_lookalike",
            ] {
                assert!(levels.allows(target, Level::INFO), "{target}");
                assert!(!levels.allows(target, Level::DEBUG), "{target}");
                assert!(!levels.allows(target, Level::TRACE), "{target}");
            }
            assert!(levels.allows("fumidai::channel", Level::TRACE));
        }
    }

    #[test]
    fn other_crates_stay_at_warn_by_themselves() {
        let levels = Levels::of_stderr(&settings(Verbosity::Trace, None, None));
        assert!(levels.allows("hyper::proto", Level::WARN));
        assert!(!levels.allows("hyper::proto", Level::INFO));
    }

    #[test]
    fn rust_log_adds_to_the_flags_unless_quiet() {
        let lifted = Some("fumidai::channel=debug");
        let levels = Levels::of_stderr(&settings(Verbosity::Normal, lifted, None));
        assert!(levels.allows("fumidai::channel", Level::DEBUG));
        assert!(!levels.allows("fumidai::session", Level::ERROR));
        assert_eq!(levels.most(), LevelFilter::DEBUG);
        let quiet = Levels::of_stderr(&settings(Verbosity::Quiet, lifted, None));
        assert!(!quiet.allows("fumidai::channel", Level::ERROR));
        let off = Levels::of_file(&settings(Verbosity::Normal, Some("off"), None));
        assert!(off.allows("fumidai", Level::INFO));
        let broken = Levels::of_stderr(&settings(Verbosity::Info, Some("=,=["), None));
        assert!(broken.allows("fumidai", Level::INFO));
    }

    #[test]
    fn the_file_has_what_a_silent_run_does_not_show() {
        let (stderr, file) = logged(Verbosity::Normal, None, || {
            tracing::info!(attempt = 2, "resumed");
            tracing::debug!("not kept");
        });
        assert_eq!(stderr, "");
        assert_eq!(file.lines().count(), 1, "{file}");
        let words: Vec<&str> = file.split_whitespace().collect();
        assert!(words[0].ends_with('Z') && words[0].contains('T'), "{file}");
        assert_eq!(words[1], process::id().to_string());
        assert_eq!(words[2], "INFO");
        assert!(file.ends_with(": resumed attempt=2\n"), "{file}");
    }

    #[test]
    fn a_line_carries_its_spans_and_stays_one_line() {
        let (stderr, _) = logged(Verbosity::Info, None, || {
            let span = tracing::info_span!("session", id = "me-1");
            let _inside = span.enter();
            tracing::info!("the agent said: {}", "a\nb\x1b[2J");
        });
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(
            stderr.contains("session{id=\"me-1\"}: fumidai::cli::log::tests: the agent said: a b"),
            "{stderr}"
        );
        assert!(!stderr.contains('\x1b'));
    }

    #[test]
    fn a_line_has_a_limit_whatever_was_received() {
        let long = "é".repeat(1 << 19);
        let (_, file) = logged(Verbosity::Normal, None, || tracing::info!(long));
        assert!(file.contains("long=\"éé"));
        assert!(file.len() < LONGEST_LINE + 200, "{}", file.len());
    }

    #[test]
    fn colour_is_in_the_level_only() {
        assert_eq!(level_name(Level::WARN, false), " WARN");
        assert_eq!(level_name(Level::WARN, true), "\x1b[33m WARN\x1b[0m");
    }
}
