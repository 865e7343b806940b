//! A store with something around its writes.

use std::fmt;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};

/// What happens around each write.
#[async_trait::async_trait]
pub(crate) trait Around: fmt::Debug + Send + Sync + 'static {
    /// Ends when an object may be written.
    async fn hold(&self, _key: &Key) {}

    /// Right before a write or a deletion; `behind` gets what it gives.
    fn before(&self) -> bool {
        false
    }

    /// Right behind it.
    fn behind(&self, _before: bool) {}
}

pub(crate) fn surrounded<A: Around>(store: Arc<dyn ObjectStore>, around: Arc<A>) -> Arc<dyn ObjectStore> {
    Arc::new(Surrounded { store, around })
}

#[derive(Debug)]
struct Surrounded<A> {
    store: Arc<dyn ObjectStore>,
    around: Arc<A>,
}

impl<A> fmt::Display for Surrounded<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(formatter)
    }
}

#[async_trait::async_trait]
impl<A: Around> ObjectStore for Surrounded<A> {
    async fn put_opts(&self, key: &Key, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.around.hold(key).await;
        let before = self.around.before();
        let result = self.store.put_opts(key, payload, options).await;
        self.around.behind(before);
        result
    }

    async fn put_multipart_opts(&self, key: &Key, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(key, options).await
    }

    async fn get_opts(&self, key: &Key, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(key, options).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Key>>) -> BoxStream<'static, Result<Key>> {
        let before = self.around.before();
        let around = Arc::clone(&self.around);
        self.store.delete_stream(keys).inspect(move |_| around.behind(before)).boxed()
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Key>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Key, to: &Key, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}
