"""Accounts: register, sign in, the student's own profile."""

from __future__ import annotations

import logging
import time

from chalicelib.domain.accounts import COHORT_ADMIN_GROUP, Caller, Session, TokenRule, User, token_digest
from chalicelib.domain.cohorts import invitation_digest
from chalicelib.domain.errors import (
    BadRequestError,
    EmailTakenError,
    Fault,
    InvalidInputError,
    NotFoundError,
    StudySmartError,
    UnauthenticatedError,
)
from chalicelib.domain.issuers import GOOGLE, ForeignUser
from chalicelib.ports import Cohorts, ForeignIdentity, Identity, UserStore
from chalicelib.services.sessions import Sessions

_log = logging.getLogger("studysmart.accounts")

RECENT_SECONDS = 600
"""Age of a token up to which a user of another issuer may delete the account."""


def register(
    users: UserStore,
    identity: Identity,
    cohorts: Cohorts,
    email: str,
    password: str,
    full_name: str | None,
    invitation: str | None = None,
) -> User:
    """Create an account, or finish a registration with the same password that failed on its way.

    With the code of an ``invitation`` the student joins its cohort. The account is confirmed last, so an unconfirmed
    one is a registration that nobody knows to have worked. Raises EmailTakenError, InvalidInputError for a wrong code.
    """
    cohort = None if invitation is None else _invited_to(cohorts, invitation)
    try:
        user_id = identity.register(email, password, full_name)
    except EmailTakenError:
        unfinished = _unfinished(users, identity, email, password)
        if unfinished is None:
            raise
        user_id = unfinished or identity.register(email, password, full_name)
    users.add(user_id, email, full_name)
    if cohort is not None:
        cohorts.move([user_id], cohort)
    identity.confirm(email)
    _send_verification_code(identity, email, password)
    return _user(user_id, email, full_name, email_verified=False)


def _invited_to(cohorts: Cohorts, invitation: str) -> str:
    cohort = cohorts.of_invitation(invitation_digest(invitation))
    if cohort is None:
        raise InvalidInputError([Fault(("body", "invitation_code"), "The code is not valid", "value_error")])
    return cohort


def verify_email(users: UserStore, identity: Identity, cohorts: Cohorts, caller: Caller, token: str, code: str) -> bool:
    """Mark an address as verified, and return whether the student joined another cohort because of it.

    Students who were put into another cohort than the deployment's own stay there, and so do admins: the rights of an
    admin of one cohort would move along. Raises BadRequestError.
    """
    identity.verify_email(token, code)
    email, _ = users.get(caller.user_id)
    cohort = None if email is None else cohorts.of_address(email)
    rule = users.token_rule(caller.user_id)
    if cohort is None or rule is None or rule.cohort != cohorts.own:
        return False
    if caller.is_admin or identity.is_admin(caller.user_id, COHORT_ADMIN_GROUP):
        return False
    return cohorts.move([caller.user_id], cohort) > 0


def _send_verification_code(identity: Identity, email: str, password: str) -> None:
    """Send the first code. The account exists already, so a failure is only logged; a code can be requested again."""
    try:
        identity.send_verification_code(identity.login(email, password).access_token)
    except StudySmartError as error:
        _log.warning("no code to verify the address was sent: %s", error)


def _unfinished(users: UserStore, identity: Identity, email: str, password: str) -> str | None:
    """Return the id of an account whose registration can be finished, None if the address is taken.

    It is empty if there was a deletion to finish, after which the address is free.
    """
    account = identity.account_of(email, password)
    if account is None:
        return None
    user_id, confirmed = account
    rule = users.token_rule(user_id)
    if rule is not None and rule.deleted:
        _log.info("finishing the deletion of account %s", user_id)
        identity.delete(user_id)
        return ""
    return None if confirmed and _has_row(users, user_id) else user_id


def login(users: UserStore, identity: Identity, email: str, password: str) -> Session:
    """Return new tokens, and complete a registration or deletion that a crash interrupted.

    Raises UnauthenticatedError.
    """
    session = identity.login(email, password)
    user_id = identity.verify(session.access_token).user_id
    if not _has_row(users, user_id):
        users.add(user_id, email.strip(), None)
        if not _has_row(users, user_id):
            _log.info("finishing the deletion of account %s", user_id)
            identity.delete(user_id)
            raise UnauthenticatedError("Incorrect email or password")
    return _admitted(users, identity, session)


def refresh(users: UserStore, identity: Identity, refresh_token: str) -> Session:
    """Return a new access token for a refresh token. Raises UnauthenticatedError."""
    return _admitted(users, identity, identity.refresh(refresh_token))


def _admitted(users: UserStore, identity: Identity, session: Session) -> Session:
    """Return new tokens, after keeping an access token issued in the second in which sessions were ended."""
    caller = identity.verify(session.access_token)
    rule = users.token_rule(caller.user_id) or TokenRule()
    if rule.deleted:
        raise UnauthenticatedError("This account does not exist")
    if not rule.admits(caller.issued_at, session.access_token):
        users.keep_token(caller.user_id, token_digest(session.access_token))
    return session


def _has_row(users: UserStore, user_id: str) -> bool:
    """Return whether the account has a row with an address, and is not deleted."""
    try:
        return users.get(user_id)[0] is not None
    except UnauthenticatedError:
        return False


def profile(users: UserStore, identity: Identity, caller: Caller) -> User:
    """Return the student's account. Raises UnauthenticatedError if it was deleted."""
    if caller.service is not None and users.token_rule(caller.user_id) is None:
        return _user(caller.user_id, None, None, email_verified=False)  # nothing was stored for the learner yet
    email, full_name = users.get(caller.user_id)
    if caller.foreign is not None:
        verified = email is not None
    else:
        verified = caller.service is None and identity.email_verified(caller.user_id)
    return _user(caller.user_id, email, full_name, email_verified=verified)


def change_password(users: UserStore, identity: Identity, user_id: str, token: str, current: str, new: str) -> Session:
    """Change the password, end all other sessions, and return new tokens of the caller.

    The token of the request stays valid until it expires. Raises BadRequestError if the current password is wrong.
    """
    email, _ = users.get(user_id)
    identity.change_password(email or user_id, current, new)
    end_sessions(users, identity, user_id, token)
    return login(users, identity, email or user_id, new)


def reset_password(users: UserStore, identity: Identity, email: str, code: str, new: str) -> str | None:
    """Set a new password with a code, end all sessions, and return the account's id.

    Raises BadRequestError if the code is wrong or has expired.
    """
    identity.reset_password(email, code, new)
    account = identity.account_of(email, new)
    if account is None:  # the password was changed once more meanwhile, which ended the sessions
        return None
    end_sessions(users, identity, account[0])
    return account[0]


def end_sessions(users: UserStore, identity: Identity, user_id: str, *kept: str) -> None:
    """End the sessions of an account on all devices. Access tokens in ``kept`` stay valid until they expire."""
    users.end_sessions(user_id, [token_digest(token) for token in kept])
    identity.sign_out(user_id)


def delete_account(
    users: UserStore, identity: Identity, caller: Caller, password: str | None, now: float | None = None
) -> None:
    """Delete the account with its tasks and state. Raises BadRequestError for a wrong password.

    A service account deletes a learner without a password. A user of another issuer has none here, and needs a token of
    the last minutes. The data is deleted first, so a crash can leave a login, but never data.
    """
    email, _ = users.get(caller.user_id)
    if caller.foreign is not None:
        if caller.issued_at < (time.time() if now is None else now) - RECENT_SECONDS:
            raise BadRequestError("Please sign in again, and delete the account within ten minutes")
        users.erase(caller.user_id)
    elif caller.service is not None:
        users.erase(caller.user_id)
    else:
        if password is None:
            raise BadRequestError("password: Field required")
        identity.check_password(email or caller.user_id, password)
        users.erase(caller.user_id)
        identity.delete(caller.user_id)


def sign_in_with(issuer: str, tokens: ForeignIdentity, sessions: Sessions, token: str) -> ForeignUser:
    """Return the user of an issuer's token. The account is made at the first time.

    Raises UnauthenticatedError, NotFoundError if the settings do not name the issuer.
    """
    if issuer not in tokens.issuers:
        raise NotFoundError(
            f"Signing in with {issuer} is not set up ({'GOOGLE_CLIENT_ID' if issuer == GOOGLE else 'OIDC_ISSUERS'})"
        )
    caller = tokens.verify(token)
    if caller is None or caller.foreign is None or caller.foreign.issuer != issuer:
        raise UnauthenticatedError(f"This token was not issued by {issuer}")
    sessions.check(caller, token)
    return caller.foreign


def check_cohort(users: UserStore, user_id: str, cohort: str) -> None:
    """Raise NotFoundError if a student belongs to another cohort. Those without a row belong to none."""
    rule = users.token_rule(user_id)
    if rule is not None and rule.cohort not in (None, cohort):
        raise NotFoundError(f"There is no account {user_id} in the cohort {cohort}")


def check_own(caller: Caller) -> None:
    """Raise BadRequestError if another issuer keeps the user's password and address."""
    if caller.foreign is not None:
        raise BadRequestError(f"Password and address of this account belong to {caller.foreign.issuer}")


def _user(user_id: str, email: str | None, full_name: str | None, *, email_verified: bool) -> User:
    return User(user_id, email, full_name, email_verified, profile_completed=bool(full_name))
