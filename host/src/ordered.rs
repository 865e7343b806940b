//! Parallel work on a stream, with the results in the stream's order and a fixed number of items in flight.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Items that wait before and behind each worker.
const QUEUE: usize = 2;

/// Gives the items in turn to the workers, each on a thread of its own, and their results in the items' order to `sink`.
///
/// Item `n` goes to worker `n % workers`, so order needs no bookkeeping, and at most `workers * (2 * QUEUE + 1)` items
/// are in memory. The first error of `sink` ends everything and is returned.
pub fn map_ordered<I, O, E, W>(
    items: impl Iterator<Item = I> + Send,
    workers: Vec<W>,
    mut sink: impl FnMut(O) -> Result<(), E>,
) -> Result<(), E>
where
    I: Send,
    O: Send,
    W: FnMut(I) -> O + Send,
{
    std::thread::scope(|scope| {
        let mut queues: Vec<SyncSender<I>> = Vec::new();
        let mut results: Vec<Receiver<O>> = Vec::new();
        for mut worker in workers {
            let (queue, todo) = sync_channel::<I>(QUEUE);
            let (done, result) = sync_channel::<O>(QUEUE);
            queues.push(queue);
            results.push(result);
            scope.spawn(move || {
                for item in todo {
                    if done.send(worker(item)).is_err() {
                        break; // nobody wants results any more
                    }
                }
            });
        }
        scope.spawn(move || {
            for (item, queue) in items.zip(queues.iter().cycle()) {
                if queue.send(item).is_err() {
                    break;
                }
            }
        });
        // A worker whose queue has closed ends the stream: with items in turn, no later worker has got more.
        for result in results.iter().cycle() {
            let Ok(output) = result.recv() else { break };
            sink(output)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::map_ordered;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for workers in 1..5 {
            let slow_first = |n: u64| {
                std::thread::yield_now();
                n * 10
            };
            let mut seen = Vec::new();
            let sink = |n| {
                seen.push(n);
                Ok::<_, ()>(())
            };
            map_ordered(0..100, vec![slow_first; workers], sink).unwrap();
            assert_eq!(seen, (0..1000).step_by(10).collect::<Vec<u64>>());
        }
    }

    #[test]
    fn an_error_of_the_sink_ends_an_endless_stream() {
        let sink = |n| if n < 10 { Ok(()) } else { Err("enough") };
        assert_eq!(map_ordered(0.., vec![|n: u64| n; 3], sink), Err("enough"));
    }
}
