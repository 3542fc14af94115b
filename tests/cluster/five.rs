//! A region of five members: it lives with two of them gone, the leader among them.

use std::time::Instant;

use anyhow::Result;
use landbridge_tests::region::Region;

use crate::{
    refilling::all_vote,
    writers::{all_kept, keeping},
};

/// Members.
const MEMBERS: u16 = 5;

pub async fn five_members_lose_two_go_on_and_take_them_back() -> Result<()> {
    let mut region = Region::new(MEMBERS)?;
    region.start_all()?;
    region.all_ready().await;
    all_vote(&region, usize::from(MEMBERS)).await;
    let leader = region.leader().await;
    let lost = [leader, 1 + leader % MEMBERS];
    let rest: Vec<_> = region.members().into_iter().filter(|member| !lost.contains(member)).collect();
    let writing = keeping(&rest.iter().map(|member| region.http(*member)).collect::<Vec<_>>());
    writing.goes_on().await;

    let killed = Instant::now();
    for member in lost {
        region.kill(member)?;
    }
    writing.goes_on().await;
    let gap = writing.gap_since(killed).unwrap_or_default();
    for member in lost {
        region.start(member)?;
    }
    region.all_ready().await;
    all_vote(&region, usize::from(MEMBERS)).await;

    let answered = all_kept(writing, &region).await?;
    println!("  {MEMBERS} members, 2 killed: {answered} answered, 0 lost, longest gap {gap:?}");
    Ok(())
}
