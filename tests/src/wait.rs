//! Waits for a condition until a deadline: the only place in the tests that lets time pass.

use std::time::{Duration, Instant};

/// How long a condition rests between two questions.
const REST: Duration = Duration::from_millis(5);

/// Asks until the answer is there, and panics with `what` when `deadline` has passed without one.
#[track_caller]
pub fn until<T>(what: &str, deadline: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::sleep(REST);
    }
}

/// As [`until`], for questions that are asked asynchronously.
pub async fn until_async<T>(what: &str, deadline: Duration, ask: impl AsyncFnMut() -> Option<T>) -> T {
    match within(deadline, ask).await {
        Some(answer) => answer,
        None => panic!("not within {deadline:?}: {what}"),
    }
}

/// Asks until the answer is there; none when `deadline` has passed without one, even while a question is still open.
pub async fn within<T>(deadline: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let asking = async {
        loop {
            let answer = ask().await;
            if answer.is_some() {
                return answer;
            }
            tokio::time::sleep(REST).await;
        }
    };
    tokio::time::timeout(deadline, asking).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_the_wait() {
        let mut asked = 0;

        let answer = until("three questions", Duration::from_secs(5), || {
            asked += 1;
            (asked == 3).then_some(asked)
        });

        assert_eq!(answer, 3);
    }

    #[test]
    #[should_panic(expected = "not within 1ms: an answer")]
    fn a_deadline_ends_the_wait_too() {
        until("an answer", Duration::from_millis(1), || None::<()>);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_nobody_answers_ends_with_its_deadline() {
        let answer =
            within(Duration::from_secs(5), async || std::future::pending::<Option<()>>().await).await;

        assert_eq!(answer, None);
    }

    #[tokio::test(start_paused = true)]
    async fn asynchronous_questions_wait_alike() {
        let mut asked = 0;

        until_async("three questions", Duration::from_secs(5), async || {
            asked += 1;
            (asked == 3).then_some(())
        })
        .await;

        assert_eq!(asked, 3);
    }
}
