//! Parallel work on a stream, with the results in the stream's order and a fixed number of items in flight.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Items that wait before and behind each worker.
const QUEUE: usize = 2;

/// Gives the items in turn to the workers, each on a thread of its own, and their results in the items' order to `sink`.
///
/// Item `n` goes to worker `n % workers`, so order needs no bookkeeping, and no more than `workers * (2 * QUEUE + 1) + 2`
/// items are in memory. There must be a worker.
pub fn map_ordered<I, O, W>(items: impl Iterator<Item = I> + Send, workers: Vec<W>, mut sink: impl FnMut(O))
where
    I: Send,
    O: Send,
    W: FnMut(I) -> O + Send,
{
    assert!(!workers.is_empty(), "nobody to work");
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
                        break; // the sink panicked
                    }
                }
            });
        }
        scope.spawn(move || {
            for (item, queue) in items.zip(queues.iter().cycle()) {
                if queue.send(item).is_err() {
                    break; // a worker panicked
                }
            }
        });
        // A worker whose queue has closed ends the stream: with items in turn, no later worker has got more.
        for result in results.iter().cycle() {
            let Ok(output) = result.recv() else { break };
            sink(output);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::map_ordered;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for workers in 1..5 {
            let mut seen = Vec::new();
            map_ordered(0..100, vec![|n: u64| n * 10; workers], |n| seen.push(n));
            assert_eq!(seen, (0..1000).step_by(10).collect::<Vec<u64>>());
        }
    }

    #[test]
    fn a_later_item_that_is_done_first_waits_for_its_turn() {
        let (done, first_may_end) = channel();
        let mut first = Some(first_may_end);
        let mut later = Some(done);
        // The worker of item 0 ends only after the worker of item 1 has.
        let workers: Vec<Box<dyn FnMut(u64) -> u64 + Send>> = vec![
            Box::new(move |n| {
                if let Some(wait) = first.take() {
                    wait.recv().unwrap();
                }
                n
            }),
            Box::new(move |n| {
                if let Some(tell) = later.take() {
                    tell.send(()).unwrap();
                }
                n
            }),
        ];
        let mut seen = Vec::new();
        map_ordered(0..6, workers, |n| seen.push(n));
        assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    }
}
