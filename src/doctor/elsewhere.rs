//! A machine that is not in this region: is it in another one that is enabled for the account?

use futures_util::future::join_all;

use crate::aws::{Access, ApiError, Filter, NodeFilter};
use crate::names::{Name, Target, TargetKind};

use super::limit::Limit;

/// What other regions know.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// The regions where it is, with its id there.
    pub found: Vec<(String, String)>,
    /// How many regions have answered that it is not there; `None` if none was asked.
    pub without: Option<usize>,
}

/// Looks for a name in all other regions; `None` if it cannot be looked for there.
pub(super) async fn search(access: &Access, name: &Name, limit: Limit) -> Option<Search> {
    let query = Query::of(name)?;
    let regions = limit.check(access.describe_regions()).await;
    let Ok(Ok(regions)) = regions else { return Some(Search::default()) };
    let others = regions.iter().filter(|region| *region != access.region());
    let answers = join_all(others.map(|region| ask(access, region, &query, limit))).await;
    let mut search = Search { found: Vec::new(), without: Some(0) };
    for answer in answers.into_iter().flatten() {
        match answer {
            (region, Some(id)) => search.found.push((region, id)),
            (_, None) => search.without = search.without.map(|count| count + 1),
        }
    }
    Some(search)
}

/// What is asked for.
enum Query {
    Instances(Filter),
    Node(NodeFilter),
}

impl Query {
    fn of(name: &Name) -> Option<Self> {
        let by_tag = |key: &str, value: &str| Self::Instances(Filter::new(format!("tag:{key}"), value));
        match name {
            Name::Id(target) => Self::of_target(target),
            Name::Tag { key, value } => Some(by_tag(key, value)),
            Name::Named(value) => Some(by_tag("Name", value)),
            Name::Container(_) | Name::Address(_) | Name::Dns(_) => None,
        }
    }

    fn of_target(target: &Target) -> Option<Self> {
        let id = target.id();
        match target.kind() {
            TargetKind::Instance => Some(Self::Instances(Filter::new("instance-id", id))),
            TargetKind::ManagedInstance => Some(Self::Node(NodeFilter::Id(id.to_owned()))),
            TargetKind::Container | TargetKind::SageMakerNode => None,
        }
    }

    async fn ask(&self, access: &Access) -> Result<Option<String>, ApiError> {
        match self {
            Self::Instances(filter) => {
                let found = access.describe_instances(std::slice::from_ref(filter)).await?;
                Ok(found.into_iter().find(|one| one.state != "terminated").map(|instance| instance.id))
            }
            Self::Node(filter) => {
                let found = access.describe_instance_information(Some(filter)).await?;
                Ok(found.into_iter().next().map(|node| node.id))
            }
        }
    }
}

/// Asks one region; `None` if it does not answer in time. All are asked at once.
async fn ask(access: &Access, region: &str, query: &Query, limit: Limit) -> Option<(String, Option<String>)> {
    let access = access.in_region(region).await;
    let answer = limit.check(query.ask(&access)).await;
    Some((region.to_owned(), answer.ok()?.ok()?))
}
