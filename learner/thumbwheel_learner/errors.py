"""The learner's error tree; each noun's own errors live beside the code that raises them.

LearnerError
├── environment.BadSetting             (a thumbwheel.ConfigurationError) a setting cannot be used
├── questions.known.BadKnownAnswers    (a thumbwheel.ConfigurationError) the file of known answers does not read
├── lock.AlreadyRunning                another learner holds this data directory
├── store.session.OffsetMoved          somebody else stored records of this partition meanwhile
├── replay.bounds.NotThere             the bus no longer has, or never had, what is to be read again
├── replay.rebuild.ReplayStopped       a rebuild cannot go on
├── replay.rewind.RewindRefused        the offsets were left alone; the message says why
├── distributed.world.GroupBroken      a process that trains beside this one is gone, or out of step
├── distributed.world.FirstFailed      the first process could not do what the others wait for
├── dataset.keys.KeysAway              the service does not hand out keys just now
├── dataset.snapshots.SnapshotDamaged  a snapshot file is missing or does not match its hash
├── runs.run.Stopped                   a person asked the learner to stop; the run resumes at the next start
├── runs.run.RunAbandoned              a run can never finish; the message says why
├── runs.publish.PublishFailed         the artifact could not be written
├── ppo.credit.NoAttention             credit by attention is wanted from a reward that looks at no words
├── reward.heads.NothingToLearn         no label to train heads on
├── rlaif.labeler.LabelerAway          the labeler does not answer now
├── rlaif.labeler.NoVerdict            it has none on this pair: BadVerdict, LabelerRefused
└── rollouts.served.RolloutFailed      the service did not sample
    └── RolloutRefused                 the service will not load this candidate, however often it is asked
"""


class LearnerError(Exception):
    """Root of everything the learner raises on purpose."""
