//! Feedback in SQLite: what people say of texts, kept for review and retraining.

use std::borrow::Cow;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::Serialize;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, SqlSafeStr};

use crate::bindings::platform::palisade::services::feedback::Suggestion;

/// The file of feedback.
#[derive(Debug, Clone)]
pub struct Feedback {
    pool: SqlitePool,
}

/// One suggestion, as `palisade feedback export` prints it.
#[derive(Debug, Serialize)]
pub struct Kept {
    /// SHA-256 of the suggestion.
    pub id: String,
    /// Milliseconds since 1970.
    pub received_ms: i64,
    /// The text judged.
    pub text: String,
    /// Scores suggested: label, score, span in UTF-16 code units.
    pub scores: serde_json::Value,
    /// As the client sent them.
    pub languages: serde_json::Value,
    /// As the client sent it.
    pub community_id: Option<String>,
    /// As the client sent it.
    pub client_token: Option<String>,
    /// As the client sent it.
    pub session_id: Option<String>,
    /// Name of the key that sent it.
    pub key_name: Option<String>,
}

/// Largest file: whoever may send feedback must not fill the disk.
const BYTES_MAX: u64 = 1 << 30;
/// SQLite's size of a page, if nothing else is said.
const PAGE_BYTES: u64 = 4096;
const MIGRATIONS: &[(i64, &str, &str)] = &[(1, "feedback", include_str!("feedback.sql"))];

impl Feedback {
    /// Opens the file, and makes or migrates it where that is needed.
    pub async fn open(path: &Path) -> Result<Self> {
        make_private(path).with_context(|| format!("{}: cannot be used for feedback", path.display()))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full) // a suggestion that was acknowledged is on the disk
            .pragma("max_page_count", BYTES_MAX.div_euclid(PAGE_BYTES).to_string())
            .busy_timeout(std::time::Duration::from_secs(5));
        let context = || format!("{}: cannot be used for feedback", path.display());
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.with_context(context)?;
        let migrations = MIGRATIONS.iter().map(|(version, description, sql)| {
            Migration::new(*version, Cow::Borrowed(*description), MigrationType::Simple, sql.into_sql_str(), false)
        });
        let migrator = Migrator { migrations: Cow::Owned(migrations.collect()), ..Migrator::DEFAULT };
        migrator.run(&pool).await.with_context(context)?;
        Ok(Self { pool })
    }

    /// Keeps a suggestion. True where it is new.
    pub(super) async fn keep(&self, suggestion: &Suggestion, key_name: Option<&str>) -> Result<bool> {
        let received = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut transaction = self.pool.begin().await?;
        let inserted = sqlx::query(
            "INSERT INTO feedback (id, received_ms, text, languages, community_id, client_token, session_id, key_name) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        )
        .bind(&suggestion.id)
        .bind(i64::try_from(received.as_millis()).unwrap_or(i64::MAX))
        .bind(&suggestion.text)
        .bind(serde_json::to_string(&suggestion.languages)?)
        .bind(&suggestion.community_id)
        .bind(&suggestion.client_token)
        .bind(&suggestion.session_id)
        .bind(key_name)
        .execute(&mut *transaction)
        .await?;
        let is_new = inserted.rows_affected() == 1;
        if is_new {
            for score in &suggestion.scores {
                sqlx::query(
                    "INSERT INTO feedback_score (feedback_id, label, score, span_start, span_end) VALUES (?, ?, ?, ?, ?)",
                )
                .bind(&suggestion.id)
                .bind(&score.label)
                .bind(score.score)
                .bind(score.span.map(|(start, _)| start))
                .bind(score.span.map(|(_, end)| end))
                .execute(&mut *transaction)
                .await?;
            }
        }
        transaction.commit().await?;
        Ok(is_new)
    }

    /// Up to `count` suggestions after the one at `(received_ms, id)`, oldest first.
    pub async fn after(&self, place: (i64, &str), count: u32) -> Result<Vec<Kept>> {
        let rows = sqlx::query(
            "SELECT f.*, (SELECT json_group_array(json_object('label', label, 'score', score, 'start', span_start, 'end', span_end)) \
             FROM feedback_score s WHERE s.feedback_id = f.id) AS scores \
             FROM feedback f WHERE (received_ms, id) > (?, ?) ORDER BY received_ms, id LIMIT ?",
        )
        .bind(place.0)
        .bind(place.1)
        .bind(count)
        .fetch_all(&self.pool)
        .await?;
        let kept = |row: sqlx::sqlite::SqliteRow| -> Result<Kept> {
            Ok(Kept {
                id: row.try_get("id")?,
                received_ms: row.try_get("received_ms")?,
                text: row.try_get("text")?,
                scores: serde_json::from_str(row.try_get("scores")?)?,
                languages: serde_json::from_str(row.try_get("languages")?)?,
                community_id: row.try_get("community_id")?,
                client_token: row.try_get("client_token")?,
                session_id: row.try_get("session_id")?,
                key_name: row.try_get("key_name")?,
            })
        };
        rows.into_iter().map(kept).collect()
    }

    /// Closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Makes the file and its folder where they are missing, for this user alone: they hold what people wrote.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut folders = std::fs::DirBuilder::new();
    let mut file = std::fs::OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        folders.mode(0o700);
        file.mode(0o600);
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        folders.recursive(true).create(folder)?;
    }
    file.create(true).append(true).open(path).map(drop)
}
