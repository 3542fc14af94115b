//! Gives a call to endpoints until one answers: again after a failure, beside one that waits, where that is safe.
//!
//! ```text
//! start ──▶ waiting ── failed, may be repeated ──▶ start elsewhere
//!              ├── its delay is over, may be repeated ──▶ start beside it: near, and before silence far
//!              └── first good answer, or nothing left to try ──▶ over; the others are heard out aside
//! ```
//! Invariant: a call that may not be repeated is never sent twice.
//! Invariant: all tries together end by the call's deadline.

use std::{
    cell::Cell,
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Method, Request, request::Parts};
use http_body::Body as _;
use hyper::body::Incoming;
use landbridge_gateway_core::{Haste, NEAR_TRIES_MAX, Next, Policy, Rung, Waiting};
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{Service, service_fn};

use super::{
    Ask, Attempt, Called, Reach, TRIES_MAX, Tried,
    patience::{GRACE, Patience, stalled},
    race::Race,
};
use crate::{
    answer::Answer,
    config::Retries,
    local::Local,
    payload::{Payload, Tape, Upload},
    refusal::Refusal,
    tally::Miss,
    upgrade,
    view::Seen,
};

/// A try that got an answer.
pub(crate) struct Reached {
    pub(crate) answer: Answer,
    pub(crate) rung: Rung,
    /// The answer is a failure of the endpoint.
    pub(crate) failure: bool,
}

/// A try that got none.
pub(crate) enum Missed {
    /// The service has no endpoint, or none where the try may go.
    Nobody,
    /// No byte was sent: here is the request again.
    Unsent {
        /// Where the endpoint is.
        rung: Rung,
        /// What was to be sent.
        request: Ask,
    },
    /// Something was sent, perhaps all of it.
    Lost {
        /// Where the endpoint is that did not answer, to blame or not.
        rung: Rung,
        /// How it failed.
        miss: Miss,
    },
    /// What may leave for that region is used up; it may again after so long.
    OverQuota(Duration),
    /// The caller's body broke off.
    Caller,
    /// Another try has the caller's body.
    Superseded,
}

/// The layer.
pub(crate) fn layer<S>(
    local: Rc<Local>,
    inner: S,
) -> impl Service<Called, Response = Answer, Error = Infallible, Future: 'static> + Clone + 'static
where
    S: Service<Attempt, Response = Reached, Error = Missed, Future: 'static> + Clone + 'static,
{
    service_fn(move |called: Called| {
        let (course, request) = Course::new(local.clone(), called);
        // Boxed here: the layers above, and what drives them, move a pointer and not all that a call could need.
        Box::pin(course.run(request, inner.clone()))
    })
}

/// What is needed to make a request once more.
enum Copy {
    /// One without a body can be asked as often as one likes.
    Bodiless(Rc<Request<Payload>>),
    /// The head, and a body that is recorded.
    Taped(Box<Request<()>>, Tape),
}

impl Copy {
    fn request(&self) -> Option<Ask> {
        match self {
            Self::Bodiless(request) => Some(Ask::Shared(request.clone())),
            Self::Taped(head, tape) => Some(Ask::of(head, Payload::Taped(tape.play()?))),
        }
    }

    fn tape(&self) -> Option<&Tape> {
        match self {
            Self::Bodiless(_) => None,
            Self::Taped(_, tape) => Some(tape),
        }
    }
}

/// A call's request, and its copy if it may be repeated with a body of at most so many `bytes_max`.
fn copied(
    head: Parts,
    body: Incoming,
    upload: Option<&Rc<Upload>>,
    bytes_max: Option<usize>,
) -> (Option<Copy>, Ask) {
    match (upload, bytes_max) {
        (None, Some(_)) => {
            let request = Rc::new(Request::from_parts(head, Payload::Empty));
            (Some(Copy::Bodiless(request.clone())), Ask::Shared(request))
        }
        (None, None) => (None, Ask::Own(Box::new(Request::from_parts(head, Payload::Empty)))),
        (Some(upload), Some(bytes_max)) => {
            let tape = Tape::new(body, bytes_max, upload.clone());
            let payload = tape.play().map_or(Payload::Empty, Payload::Taped);
            let head = Box::new(Request::from_parts(head, ()));
            let request = Ask::of(&head, payload);
            (Some(Copy::Taped(head, tape)), request)
        }
        (Some(upload), None) => {
            let payload = Payload::Once(body, upload.clone());
            (None, Ask::Own(Box::new(Request::from_parts(head, payload))))
        }
    }
}

/// The tries of one call.
struct Course {
    local: Rc<Local>,
    view: Rc<Seen>,
    service: u32,
    grpc: bool,
    copy: Option<Copy>,
    tries_left: u32,
    patience: Patience,
    tried: Rc<Cell<Tried>>,
    /// When the newest try began.
    newest: Instant,
    /// When the one before it did.
    before: Instant,
    /// The region may hold an endpoint that was not tried.
    near: bool,
    /// When to look whether the call is to be tried beside; `None`: never again.
    due: Option<Instant>,
    /// The last look came late.
    late: bool,
    /// The caller's body is read ahead of the endpoint.
    ahead: bool,
    /// It came from another region to be answered here.
    stays: bool,
}

/// What follows from a try that ended.
#[allow(
    clippy::large_enum_variant,
    reason = "it is looked at once, where it is made; a box would cost every call one"
)]
enum Verdict {
    Over(Answer),
    Again(Ask),
    /// Others run.
    Wait,
}

/// True if a call may be sent again: as its route says, else by its method.
pub(crate) fn repeatable(rules: &Retries, policy: &Policy, method: &Method) -> bool {
    policy.repeatable.unwrap_or_else(|| rules.methods.contains(method))
}

impl Course {
    fn new(local: Rc<Local>, called: Called) -> (Self, Ask) {
        let Called { head, body, begun, view, service, policy, grpc, told, peer, .. } = called;
        let settings = &view.settings;
        let repeatable = repeatable(&settings.retries, &policy, &head.method);
        let tries = policy.tries_max.unwrap_or(settings.retries.tries_max).clamp(1, TRIES_MAX as u32);
        let upload = (!body.is_end_stream()).then(|| Rc::new(Upload::begin(begun)));
        let websocket = upgrade::asks_websocket(&head.headers);
        let bytes_max = settings.retries.body_bytes_max;
        let (copy, request) =
            copied(head, body, upload.as_ref(), (repeatable && tries > 1).then_some(bytes_max));
        let (budget, rules, now) = (settings.retries.budget, settings.hedging, local.moment(begun));
        let mut haste = local.with_means(&view, view.snapshot.service(service), |means| {
            means.retries.earn(&budget, now);
            means.hedges.earn(&rules.budget, now);
            means.pace.haste(&rules.rules)
        });
        if copy.is_none() || websocket {
            haste = Haste { delay_ms: None, ..haste };
        }
        let overall = Duration::from_millis(policy.timeout_ms.unwrap_or(settings.overall_ms));
        let patience = Patience {
            called: begun,
            overall: told.map_or(overall, |told| told.min(overall)),
            told: told.is_some_and(|told| told < overall),
            one_try: Duration::from_millis(policy.try_timeout_ms.unwrap_or(settings.try_ms)),
            haste,
            upload,
        };
        let due = haste.delay_ms.map(|delay_ms| begun + Duration::from_millis(delay_ms));
        let (tries_left, tried) = (tries - 1, Rc::default());
        let course = Self {
            local,
            view,
            service,
            grpc,
            copy,
            tries_left,
            patience,
            tried,
            newest: begun,
            before: begun,
            near: true,
            due,
            late: false,
            ahead: false,
            stays: peer.relayed_from.is_some(),
        };
        (course, request)
    }

    async fn run<S>(mut self, request: Ask, mut inner: S) -> Result<Answer, Infallible>
    where
        S: Service<Attempt, Response = Reached, Error = Missed, Future: 'static>,
    {
        let mut race = Race::new();
        race.start(inner.call(self.attempt(request, Reach::Ladder)), false);
        let mut alarm = pin!(self.due.map(sleep_until));
        loop {
            match poll_fn(|cx| self.poll_event(cx, &mut race, alarm.as_mut())).await {
                Some((outcome, beside)) => match self.settle(outcome, beside, race.is_empty()) {
                    Verdict::Over(answer) => {
                        race.hear_out(&self.local.losers, self.hearing_ms());
                        return Ok(answer);
                    }
                    Verdict::Again(request) => {
                        self.tries_left -= 1;
                        self.newest = Instant::now();
                        self.local.tally.borrow_mut().retried(self.view.snapshot.service(self.service));
                        race.start(inner.call(self.attempt(request, Reach::Ladder)), false);
                    }
                    Verdict::Wait => {}
                },
                None => {
                    let (planned, now) = (self.due.take(), Instant::now());
                    self.late = !self.late && planned.is_some_and(|planned| stalled(planned, now));
                    if self.late {
                        self.due = Some(now + GRACE);
                    } else if let Some((request, reach)) = self.beside() {
                        race.start(inner.call(self.attempt(request, reach)), true);
                    }
                }
            }
            if let (Some(alarm), Some(due)) = (alarm.as_mut().as_pin_mut(), self.due)
                && alarm.deadline() != due
            {
                alarm.reset(due);
            }
        }
    }

    fn attempt(&self, request: Ask, reach: Reach) -> Attempt {
        Attempt {
            request,
            view: self.view.clone(),
            service: self.service,
            http2: self.grpc,
            reach,
            tried: self.tried.clone(),
            begun: self.newest,
            patience: self.patience.clone(),
            stays: self.stays,
        }
    }

    /// The next try that ends and whether it was beside another, or nothing when it is due to look.
    fn poll_event<F>(
        &self,
        cx: &mut Context<'_>,
        race: &mut Race<F>,
        alarm: Pin<&mut Option<Sleep>>,
    ) -> Poll<Option<(F::Output, bool)>>
    where
        F: Future + 'static,
    {
        if let Poll::Ready(ended) = race.poll_ended(cx) {
            return Poll::Ready(Some(ended));
        }
        if self.ahead
            && let Some(tape) = self.copy.as_ref().and_then(Copy::tape)
        {
            tape.read_ahead(cx);
        }
        match (self.due, alarm.as_pin_mut()) {
            (Some(_), Some(alarm)) => alarm.poll(cx).map(|()| None),
            (None, _) | (_, None) => Poll::Pending,
        }
    }

    /// What follows from a try that ended; `alone` if no other runs: what fails beside others waits for them.
    fn settle(&mut self, outcome: Result<Reached, Missed>, beside: bool, alone: bool) -> Verdict {
        let missed = |rung, miss| self.local.tally.borrow_mut().missed(rung, miss);
        let (next, answer) = match outcome {
            Ok(reached) if !reached.failure => {
                if beside {
                    self.local.tally.borrow_mut().hedge_won(self.view.snapshot.service(self.service));
                }
                return Verdict::Over(reached.answer);
            }
            Ok(reached) => {
                missed(reached.rung, Miss::Status);
                (alone.then(|| self.repeat()).flatten(), reached.answer)
            }
            Err(Missed::Nobody) if beside => return self.found_nobody(alone),
            Err(Missed::Nobody) => (None, self.refuse(Refusal::NoEndpoint)),
            Err(Missed::OverQuota(wait)) => (None, self.refuse(Refusal::Limited(wait))),
            Err(Missed::Caller) => return Verdict::Over(self.refuse(Refusal::Caller)),
            Err(Missed::Superseded) => (None, self.refuse(Refusal::Unreachable)),
            // A request of which nothing was sent costs no endpoint anything: it needs no budget.
            Err(Missed::Unsent { rung, request }) => {
                missed(rung, Miss::Connect);
                let again = (alone && self.tries_left > 0).then_some(request);
                (again, self.refuse(Refusal::Unreachable))
            }
            Err(Missed::Lost { rung, miss }) => {
                missed(rung, miss);
                let refusal = if miss == Miss::Late { Refusal::Late } else { Refusal::Unreachable };
                (alone.then(|| self.repeat()).flatten(), self.refuse(refusal))
            }
        };
        let now = Instant::now();
        match next {
            Some(request) if now < self.patience.end(now) => Verdict::Again(request),
            Some(_) => Verdict::Over(self.refuse(Refusal::Late)),
            None if alone => Verdict::Over(answer),
            None => Verdict::Wait,
        }
    }

    /// A try beside others found nobody: it was none. Whoever is out of rotation may be back at the next look.
    fn found_nobody(&mut self, alone: bool) -> Verdict {
        self.tries_left += 1;
        self.newest = self.before;
        let now = Instant::now();
        self.due = if self.near { Some(now) } else { self.delay().map(|delay| now + delay) };
        self.near = !self.near;
        if alone { Verdict::Over(self.refuse(Refusal::Unreachable)) } else { Verdict::Wait }
    }

    fn refuse(&self, refusal: Refusal) -> Answer {
        Answer::refuse(refusal, self.grpc).about(&self.view, self.service)
    }

    /// A request that was sent is sent again only if that is allowed, possible and within the budget.
    fn repeat(&self) -> Option<Ask> {
        let request = self.copy.as_ref().filter(|_| self.tries_left > 0).and_then(Copy::request);
        let now = Instant::now();
        let request = request.filter(|_| now < self.patience.end(now))?;
        let (rules, moment) = (self.view.settings.retries.budget, self.local.moment(now));
        let service = self.view.snapshot.service(self.service);
        if self.local.with_means(&self.view, service, |means| means.retries.spend(&rules, moment)) {
            Some(request)
        } else {
            self.local.tally.borrow_mut().denied(service);
            None
        }
    }

    fn delay(&self) -> Option<Duration> {
        self.patience.haste.delay_ms.map(Duration::from_millis)
    }

    /// Looks whether the call is to be tried beside those that wait, and when to look again.
    fn beside(&mut self) -> Option<(Ask, Reach)> {
        let copy = self.copy.as_ref().filter(|_| self.tries_left > 0)?;
        let delay = self.delay()?;
        let now = Instant::now();
        if copy.tape().is_some_and(|tape| !tape.is_whole()) {
            (self.ahead, self.due) = (true, Some(now + delay));
            return None;
        }
        let since = self.local.moment(self.patience.since(self.newest, now));
        let service = self.view.snapshot.service(self.service);
        let tried = self.tried.get();
        let newest = tried.as_slice().last().map(|newest| service.endpoint(*newest));
        let near = self.near && tried.as_slice().len() < NEAR_TRIES_MAX;
        let silent = newest.is_some_and(|endpoint| !endpoint.state.answered_since(since));
        let moment = self.local.moment(now);
        let reach = match self.patience.haste.next(moment, &Waiting { since, silent, near }) {
            Next::Wait { until } => {
                self.due = Some(now + Duration::from_millis(until.since(moment).max(1)));
                return None;
            }
            Next::Near => Reach::Near,
            Next::Far => Reach::Far,
            Next::Never => return None,
        };
        self.due = Some(now + delay);
        let rules = self.view.settings.hedging.budget;
        // Where silence is overtaken, nobody works twice; but where all calls take longer than the longest delay, an
        // endpoint with few calls at once is silent before each answer.
        let overtaken = silent && moment >= since.after(self.patience.haste.usual_ms);
        let may = overtaken
            || self.local.with_means(&self.view, service, |means| means.hedges.spend(&rules, moment));
        if !may {
            self.local.tally.borrow_mut().hedge_denied(service);
            return None;
        }
        let request = copy.request()?;
        self.tries_left -= 1;
        self.before = std::mem::replace(&mut self.newest, now);
        Some((request, reach))
    }

    /// How long tries that lost are heard out: until their endpoints' silence has counted as often as it may.
    fn hearing_ms(&self) -> u64 {
        let counts = u64::from(self.view.settings.pick.health.failures_max) + 1;
        self.patience.haste.silence_ms.map_or(0, |silence_ms| silence_ms.saturating_mul(counts))
    }
}
