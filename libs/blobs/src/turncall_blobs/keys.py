"""Where things are kept: the keys of recordings, of jobs and of documents."""

from turncall_proto.ids import CallId, DocumentId, JobId, KnowledgeBaseId, ProjectId


def recording_part(project_id: ProjectId, call_id: CallId, epoch: int, index: int) -> str:
    """The key of one part of a call's recording. Within a call, keys sort in the order of the sound."""
    return f"{recording(project_id, call_id)}{epoch:04}/{index:06}.wav"


def part_epoch(key: str) -> int:
    """The epoch of a part by its key."""
    return int(key.split("/")[-2])


def recording(project_id: ProjectId, call_id: CallId) -> str:
    """The prefix of every part of a call's recording."""
    return f"{recordings(project_id)}{call_id}/"


def recordings(project_id: ProjectId) -> str:
    """The prefix of every recording of a project."""
    return f"recordings/{project_id}/"


def of_project(project_id: ProjectId) -> tuple[str, ...]:
    """Every prefix under which something of a project is kept: what a purge deletes."""
    return (recordings(project_id), jobs(project_id), knowledge(project_id))


def jobs(project_id: ProjectId) -> str:
    """The prefix of the jobs of a project that are on their way."""
    return f"jobs/{project_id}/"


def jobs_of(project_id: ProjectId, call_id: CallId) -> str:
    """The prefix of the jobs about a call that are on their way."""
    return f"{jobs(project_id)}{call_id}/"


def job(project_id: ProjectId, call_id: CallId | None, job_id: JobId) -> str:
    """The key of a job that is too large to travel; it is deleted with its answer."""
    return f"{jobs(project_id) if call_id is None else jobs_of(project_id, call_id)}{job_id}.json"


def knowledge(project_id: ProjectId) -> str:
    """The prefix of every document of a project."""
    return f"knowledge/{project_id}/"


def knowledge_base(project_id: ProjectId, base_id: KnowledgeBaseId) -> str:
    """The prefix of every document of a knowledge base."""
    return f"{knowledge(project_id)}{base_id}/"


def document(project_id: ProjectId, base_id: KnowledgeBaseId, document_id: DocumentId) -> str:
    """The prefix of all that is kept of a document."""
    return f"{knowledge_base(project_id, base_id)}{document_id}/"


def original(project_id: ProjectId, base_id: KnowledgeBaseId, document_id: DocumentId) -> str:
    """The key of a document as it came."""
    return f"{document(project_id, base_id, document_id)}original"


def cut(project_id: ProjectId, base_id: KnowledgeBaseId, document_id: DocumentId, job_id: JobId) -> str:
    """The key of what a job has made of a document; it is deleted once it is taken."""
    return f"{document(project_id, base_id, document_id)}{job_id}.cut"
