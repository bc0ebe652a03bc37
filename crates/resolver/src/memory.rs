//! The last good answer to each question, for when the question fails (RFC 8767).

use crate::question::{Answer, Failure, Question};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tower::Service;

/// Answers that are remembered; the one that was confirmed longest ago gives way.
pub const MEMORY_MAX: usize = 4_096;
/// How long an answer from memory counts (RFC 8767 §4: 30 s).
pub(crate) const STALE_TTL: Duration = Duration::from_secs(30);

/// Answers from memory where `inner` fails.
#[derive(Clone, Debug)]
pub(crate) struct LastGood<S> {
    inner: S,
    memory: Arc<Mutex<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    answers: HashMap<Question, (u64, Answer)>,
    confirmed: u64,
}

impl<S> LastGood<S> {
    pub(crate) fn new(inner: S) -> Self {
        LastGood { inner, memory: Arc::default() }
    }
}

impl<S> Service<Question> for LastGood<S>
where
    S: Service<Question, Response = Answer, Error = Failure>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, question: Question) -> Self::Future {
        let memory = self.memory.clone();
        let asked = self.inner.call(question.clone());
        Box::pin(async move {
            let answered = asked.await;
            let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            match answered {
                Ok(answer) => {
                    memory.keep(question, &answer);
                    Ok(answer)
                }
                Err(failure) => memory.recall(&question, failure).ok_or(failure),
            }
        })
    }
}

impl Memory {
    fn keep(&mut self, question: Question, answer: &Answer) {
        self.confirmed += 1;
        if self.answers.len() >= MEMORY_MAX && !self.answers.contains_key(&question) {
            let oldest = self.answers.iter().min_by_key(|(_, (confirmed, _))| *confirmed);
            if let Some(oldest) = oldest.map(|(question, _)| question.clone()) {
                self.answers.remove(&oldest);
            }
        }
        self.answers.insert(question, (self.confirmed, answer.clone()));
    }

    fn recall(&self, question: &Question, failure: Failure) -> Option<Answer> {
        let (_, answer) = self.answers.get(question)?;
        Some(Answer { ttl: STALE_TTL, stale: Some(failure), ..answer.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::{Kind, Record};

    fn question(n: usize) -> Question {
        Question { name: format!("n{n}.example").into(), kind: Kind::A }
    }

    fn answer(n: u8) -> Answer {
        let records = vec![Record::Address([192, 0, 2, n].into())];
        Answer { records, ttl: Duration::from_secs(300), stale: None }
    }

    #[test]
    fn the_last_answer_stands_in_for_a_failure() {
        let mut memory = Memory::default();
        assert_eq!(memory.recall(&question(1), Failure::Timeout), None);
        memory.keep(question(1), &answer(1));
        memory.keep(question(1), &answer(2));
        let recalled = memory.recall(&question(1), Failure::Refused).unwrap();
        assert_eq!(recalled.records, answer(2).records);
        assert_eq!((recalled.ttl, recalled.stale), (STALE_TTL, Some(Failure::Refused)));
    }

    #[test]
    fn memory_is_bounded_and_forgets_what_is_old() {
        let mut memory = Memory::default();
        for n in 0..MEMORY_MAX {
            memory.keep(question(n), &answer(1));
        }
        memory.keep(question(0), &answer(1));
        memory.keep(question(MEMORY_MAX), &answer(1));
        assert_eq!(memory.answers.len(), MEMORY_MAX);
        assert!(memory.recall(&question(0), Failure::Timeout).is_some(), "it was confirmed");
        assert!(memory.recall(&question(1), Failure::Timeout).is_none(), "the oldest");
    }
}
